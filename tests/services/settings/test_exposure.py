"""Which addresses are refused without bounds."""

import pytest

from services.errors import Misconfigured
from services.settings import load
from services.settings.exposure import check_exposure, exposed, loopback

PUBLIC = {"DOCKYARD_FRONT_PUBLIC_URL": "https://binder.example.org/"}
PROXY = {"DOCKYARD_FRONT_TRUSTED_PROXIES": "127.0.0.1"}
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
    with pytest.raises(Misconfigured, match=r"set limits\.servers_total, or let only this machine reach it"):
        check_exposure(settings.front, settings.limits)


@pytest.mark.parametrize(("environ", "others"), [
    ({}, False), (PUBLIC, True), (PROXY, True), ({"DOCKYARD_FRONT_HOSTS": "*"}, True),
    ({"DOCKYARD_FRONT_HOSTS": "binder.example.org:8443"}, True), ({"DOCKYARD_FRONT_HOSTS": "localhost:8000,127.0.0.1,[::1]:8000"}, False),
    ({"DOCKYARD_FRONT_PUBLIC_URL": "http://localhost:8000/"}, False),
])
def test_what_a_proxy_on_this_machine_publishes_is_reached_by_others(environ: dict[str, str], others: bool) -> None:
    settings = load(environ)
    assert exposed(settings.front) is others
    if others:
        with pytest.raises(Misconfigured, match=r"front\.\w+ says that others reach this server.*limits\.servers_total"):
            check_exposure(settings.front, settings.limits)
    else:
        check_exposure(settings.front, settings.limits)


def test_behind_a_proxy_clients_must_be_told_apart() -> None:
    settings = load({**PUBLIC, **ALL})
    with pytest.raises(Misconfigured, match=r"set front\.trusted_proxies to 127\.0\.0\.1"):
        check_exposure(settings.front, settings.limits)
    settings = load({**PUBLIC, **PROXY, **ALL})
    check_exposure(settings.front, settings.limits)


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0", "10.0.0.0/8,0.0.0.0/0"])
def test_nobody_believes_everybody(everybody: str) -> None:
    settings = load({"DOCKYARD_FRONT_TRUSTED_PROXIES": everybody, **ALL})
    with pytest.raises(Misconfigured, match=r"front\.trusted_proxies"):
        check_exposure(settings.front, settings.limits)
