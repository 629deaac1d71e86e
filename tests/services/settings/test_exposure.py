"""Which addresses are refused without bounds."""

import pytest

from services.errors import Misconfigured
from services.settings import load
from services.settings.exposure import check_exposure, loopback

ALL = {"DOCKYARD_LIMITS_OPEN_PER_CLIENT": "9", "DOCKYARD_LIMITS_OPEN_TOTAL": "99", "DOCKYARD_LIMITS_SERVERS_TOTAL": "9"}


@pytest.mark.parametrize(("host", "only_here"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False),
    ("192.0.2.1", False),
    ("example.org", False),
])
def test_an_address_that_others_reach_needs_bounds(host: str, only_here: bool) -> None:
    assert loopback(host) is only_here
    bounded, open_ = load({"DOCKYARD_FRONT_HOST": host, **ALL}), load({"DOCKYARD_FRONT_HOST": host})
    check_exposure(bounded.front, bounded.limits)
    if only_here:
        check_exposure(open_.front, open_.limits)
    else:
        with pytest.raises(Misconfigured, match=r"limits\.servers_total"):
            check_exposure(open_.front, open_.limits)


def test_the_sentence_names_only_what_is_missing() -> None:
    settings = load({"DOCKYARD_FRONT_HOST": "0.0.0.0"})
    with pytest.raises(Misconfigured, match=r"set limits\.servers_total, or listen on 127\.0\.0\.1"):
        check_exposure(settings.front, settings.limits)
