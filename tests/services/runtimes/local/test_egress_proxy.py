"""The egress proxy: how requests are read, and what it lets through."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.runtimes.local.egress_proxy import PER_SANDBOX, Refusal, parse, serve
from services.settings import EgressSettings


@pytest.mark.parametrize(("head", "expected"), [
    (b"CONNECT a.org:443 HTTP/1.1\r\nHost: a.org\r\n\r\n", ("a.org", 443, b"")),
    (b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", ("::1", 443, b"")),
    (b"GET http://a.org/x?y=1 HTTP/1.1\r\nHost: a.org\r\nProxy-Connection: keep-alive\r\nAccept: */*\r\n\r\n",
     ("a.org", 80, b"GET /x?y=1 HTTP/1.1\r\nHost: a.org\r\nAccept: */*\r\nConnection: close\r\n\r\n")),
    (b"POST http://a.org:8080 HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
     ("a.org", 8080, b"POST / HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\n")),
])
def test_requests(head: bytes, expected: tuple[str, int, bytes]) -> None:
    assert parse(head) == expected


@pytest.mark.parametrize("head", [
    b"GET / HTTP/1.1\r\n\r\n", b"GET https://a.org/ HTTP/1.1\r\n\r\n", b"GET ftp://a.org/ HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n",
    b"CONNECT a.org HTTP/1.1\r\n\r\n", b"CONNECT a.org:x HTTP/1.1\r\n\r\n", b"GET http://u:p@a.org/ HTTP/1.1\r\n\r\n",
    b"\xff \xfe HTTP/1.1\r\n\r\n",
    b"CONNECT a.org:99999 HTTP/1.1\r\n\r\n", b"GET http://a.org/ SPDY/3\r\n\r\n",
])
def test_what_is_no_request_to_a_proxy(head: bytes) -> None:
    with pytest.raises(Refusal):
        parse(head)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that sends back what it gets, upper case."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@contextlib.asynccontextmanager
async def proxy(directory: Path, **settings: object) -> AsyncIterator[Path]:
    servers = await serve(directory, EgressSettings.model_validate({"private": True, **settings}))
    try:
        yield directory
    finally:
        for server in servers:
            server.close()


async def ask(path: Path, request: bytes) -> bytes:
    """The whole answer, though whoever is refused may be so before the proxy has read anything; asyncio's streams forget it then."""
    return await asyncio.to_thread(_ask, path, request)


def _ask(path: Path, request: bytes) -> bytes:
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            while not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n")) and (part := connection.recv(4096)):
                answer += part
    return answer


async def test_loopback_is_for_fetching_only(tmp_path: Path, echo: int) -> None:
    async with proxy(tmp_path) as sockets:
        request = f"CONNECT 127.0.0.1:{echo} HTTP/1.1\r\n\r\n".encode()
        assert (await ask(sockets / "fetch/sock", request)).startswith(b"HTTP/1.1 200 ")
        for purpose in ("build", "server"):
            answer = await ask(sockets / purpose / "sock", request)
            assert answer.startswith(b"HTTP/1.1 470 "), purpose
            assert b"this machine itself" in answer


async def test_our_own_ports_are_for_nobody(tmp_path: Path, echo: int) -> None:
    async with proxy(tmp_path, refused=[f"127.0.0.1:{echo}"]) as sockets:
        answer = await ask(sockets / "fetch/sock", f"CONNECT localhost:{echo} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 470 ")


async def test_both_ways_until_both_have_ended(tmp_path: Path, echo: int) -> None:
    async with proxy(tmp_path) as sockets:
        reader, writer = await asyncio.open_unix_connection(sockets / "fetch/sock")
        writer.write(f"CONNECT 127.0.0.1:{echo} HTTP/1.1\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        writer.write(b"a" * 1_000_000)
        writer.write_eof()
        assert await reader.read() == b"A" * 1_000_000
        writer.close()


async def test_plain_requests_are_rewritten(tmp_path: Path, echo: int) -> None:
    async with proxy(tmp_path) as sockets:
        reader, writer = await asyncio.open_unix_connection(sockets / "fetch/sock")
        writer.write(f"GET http://127.0.0.1:{echo}/x HTTP/1.1\r\nHost: y\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"GET /X HTTP/1.1\r\nHOST: Y\r\nCONNECTION: CLOSE\r\n\r\n"
        writer.close()


async def test_one_sandbox_cannot_take_all_connections(tmp_path: Path, echo: int) -> None:
    async with proxy(tmp_path) as sockets:
        request = f"CONNECT 127.0.0.1:{echo} HTTP/1.1\r\n\r\n".encode()
        held = []
        for _ in range(PER_SANDBOX):
            reader, writer = await asyncio.open_unix_connection(sockets / "fetch/sock")
            writer.write(request)
            assert await reader.readuntil(b"\r\n\r\n")
            held.append(writer)
        assert (await ask(sockets / "build/sock", request)).startswith(b"HTTP/1.1 429 ")
        for writer in held:
            writer.close()


async def test_nobody_else_may_speak_to_it(tmp_path: Path) -> None:
    """The sockets are open to the accounts of sandboxes; which they are is asked of the kernel."""
    async with proxy(tmp_path) as sockets:
        assert (sockets / "build/sock").stat().st_mode & 0o777 == 0o666
        assert await ask(sockets / "build/sock", b"CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n")
