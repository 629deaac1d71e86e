"""Ports and addresses of the embedded default."""

import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from cli.embedded.places import check_port, socket_url
from services.errors import Misconfigured


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
