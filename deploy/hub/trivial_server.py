"""The smallest server that the hub takes for a Jupyter server: run as `python -I -S trivial_server.py SOCKET BASE_URL DELAY FILE`.

Answers one request per connection: 200 for {base}api and, with the token of the environment variable JUPYTER_TOKEN,
{base}api/status; 403 without it. Written on bare sockets because a load test starts thousands of them, and on the module
beneath `socket`, whose import takes as long as all the rest of the start.
"""

import _socket
import os
import sys
import time


def answer(request: bytes, base: bytes, token: bytes) -> bytes:
    """The whole response to the head of a request."""
    path, _, query = request.split(b" ", 2)[1].partition(b"?")
    allowed = b"token=" + token in query.split(b"&") or b"\r\nauthorization: token " + token + b"\r\n" in request
    if path.startswith(base + b"api/") and not allowed:
        status, body = b"403 Forbidden", b'{"message": "Forbidden"}'
    elif path.startswith(base):
        status, body = b"200 OK", b'{"version": "0", "pid": %d}' % os.getpid()
    else:
        status, body = b"404 Not Found", b"{}"
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, len(body)) + body


def main() -> None:
    """Serve until killed."""
    path, base, token = sys.argv[1], sys.argv[2].encode(), os.environb[b"JUPYTER_TOKEN"]
    with open(path.removesuffix("sock") + "pid", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(float(sys.argv[3]))
    while sys.argv[4] and not os.path.exists(sys.argv[4]):
        time.sleep(0.01)
    listener = _socket.socket(_socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - the proxy may have another account; the token tells who may come
    listener.listen(64)
    while True:
        connection = _socket.socket(fileno=listener._accept()[0])  # type: ignore[attr-defined]  # typeshed leaves it out
        connection.settimeout(5)
        try:
            request = b""
            while b"\r\n\r\n" not in request and (part := connection.recv(65536)):
                request += part
            if request:
                head = request.replace(b"Authorization: ", b"authorization: ")
                connection.sendall(answer(head, base, token))
        except OSError:
            continue
        finally:
            connection.close()


if __name__ == "__main__":
    main()
