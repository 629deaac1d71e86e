"""Ports and addresses of the embedded default."""

import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from cli.embedded.places import check_exposure, check_port, loopback, socket_url
from services.errors import Misconfigured
from services.settings import load


@pytest.mark.parametrize(("host", "own"), [
    ("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("example.org", False),
])
def test_loopback(host: str, own: bool) -> None:
    assert loopback(host) is own


def test_an_address_open_to_others_needs_limits() -> None:
    outside = {"DOCKYARD_FRONT_HOST": "0.0.0.0"}
    check_exposure(load({}))
    with pytest.raises(Misconfigured, match=r"set limits\.servers_total, or listen on 127\.0\.0\.1"):
        check_exposure(load(outside))
    check_exposure(load(outside | {"DOCKYARD_LIMITS_SERVERS_TOTAL": "20"}))


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=rf"Port {port} \(the front door\) is taken by another program"):
            check_port("127.0.0.1", port, "the front door")
    check_port("127.0.0.1", port, "the front door")


def test_socket_addresses_survive_lowering() -> None:
    path = Path("/Home/A b/run/hub.sock")
    netloc = urlsplit(socket_url(path)).hostname
    assert netloc is not None
    assert unquote(netloc) == str(path)
