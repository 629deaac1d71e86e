"""A parser of event streams, fed with bytes as they come.

As in the HTML standard (§9.2): events end with an empty line; what the connection's end cuts off is dropped;
the id counts only once its event is complete. Dockyard and BinderHub send no event names, so those are
ignored.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """A complete event."""

    id: str  # its own id; "" if it came without one
    data: str


class Parser:
    """Bytes in, messages out; one parser for one connection.

    `last_id` is where to resume after a cut, `retry` the pause in seconds that the server asked for.
    """

    def __init__(self, last_id: str = "", retry: float | None = None) -> None:
        self.last_id = last_id
        self.retry = retry
        self._rest = b""
        self._id: str | None = None
        self._data: list[str] = []
        self._start = True

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that this chunk completes."""
        buffer = self._rest + chunk
        if self._start:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                self._rest = buffer
                return []
            buffer, self._start = buffer.removeprefix(b"\xef\xbb\xbf"), False
        # A CR at the end may be half of a CRLF: it waits for the next chunk.
        held = b"\r" if buffer.endswith(b"\r") else b""
        lines = (buffer[:-1] if held else buffer).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held
        messages = []
        for line in lines:
            message = self._line(line.decode("utf-8", "replace"))
            if message is not None:
                messages.append(message)
        return messages

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value) / 1000
        return None

    def _dispatch(self) -> Message | None:
        own, self._id = self._id, None
        if own is not None:
            self.last_id = own
        if not self._data:
            return None
        data, self._data = "\n".join(self._data), []
        return Message(own or "", data)
