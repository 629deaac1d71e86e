"""The parser of event streams."""

import pytest

from dockyard_client.sse import Message, Parser

CASES = [
    ("one event", b'data: {"a": 1}\n\n', [Message("", '{"a": 1}')]),
    ("an id", b"id: l.1.0\ndata: x\n\n", [Message("l.1.0", "x")]),
    ("no space behind the colon", b"data:x\n\n", [Message("", "x")]),
    ("only one space is removed", b"data:  x\n\n", [Message("", " x")]),
    ("several data lines", b"data: x\ndata: y\n\n", [Message("", "x\ny")]),
    ("a comment", b":keepalive\n\ndata: x\n\n", [Message("", "x")]),
    ("CRLF", b"data: x\r\n\r\ndata: y\r\n\r\n", [Message("", "x"), Message("", "y")]),
    ("carriage returns alone", b"data: x\r\rdata: y\r\rdata", [Message("", "x"), Message("", "y")]),
    ("an event name is no matter", b"event: build\ndata: x\n\n", [Message("", "x")]),
    ("a field without a colon", b"data\n\n", [Message("", "")]),
    ("an id with a NUL is none", b"id: a\0b\ndata: x\n\n", [Message("", "x")]),
    ("a byte order mark", b"\xef\xbb\xbfdata: x\n\n", [Message("", "x")]),
    ("a broken character", b"data: \xff\n\n", [Message("", "\N{REPLACEMENT CHARACTER}")]),
    ("a character in two halves", "data: \u00e9\n\n".encode(), [Message("", "\u00e9")]),
    ("without its end it is none", b"data: x\n\ndata: y\n", [Message("", "x")]),
    ("an id of its own only", b"id: 1\ndata: x\n\ndata: y\n\n", [Message("1", "x"), Message("", "y")]),
]


@pytest.mark.parametrize(("what", "sent", "expected"), CASES, ids=[case[0] for case in CASES])
def test_events_come_out_however_the_bytes_are_cut(what: str, sent: bytes, expected: list[Message]) -> None:
    assert Parser().feed(sent) == expected
    bytewise = Parser()
    assert [m for i in range(len(sent)) for m in bytewise.feed(sent[i : i + 1])] == expected
    for cut in range(len(sent)):
        halves = Parser()
        assert halves.feed(sent[:cut]) + halves.feed(sent[cut:]) == expected


def test_the_position_moves_only_with_a_complete_event() -> None:
    parser = Parser("l.1.0")
    parser.feed(b"id: l.2.0\ndata: x\n")
    assert parser.last_id == "l.1.0"
    parser.feed(b"\n")
    assert parser.last_id == "l.2.0"


def test_the_server_sets_the_pause_in_milliseconds() -> None:
    parser = Parser()
    parser.feed(b"retry: soon\n\n")
    assert parser.retry is None
    parser.feed(b"retry: 1500\n\n")
    assert parser.retry == 1.5
