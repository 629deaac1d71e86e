"""Following an event stream across cut connections.

The position is the id of the last complete event. A cut connection is opened again with it as
`Last-Event-ID`, and the server goes on behind it; should it repeat something (a replica that was behind),
positions at or before ours are dropped. So every event is handed out exactly once, in order. A server that
gives no ids (BinderHub) cannot be resumed, and asking it again would launch again: there the cut is the
caller's to see.
"""

import dataclasses
import json
from collections.abc import Callable

from dockyard_client.errors import BadAnswer, Problem, StreamCut, Unavailable, problem
from dockyard_client.models import SETTLED, Event
from dockyard_client.sse import Message, Parser
from dockyard_client.talk import READ, Item, Reply, Request, Sleep, Talk, pause

GIVE_UP = 300.0  # seconds of pauses without one new event until a lost server is believed to be lost
_AGAIN = frozenset({429, 500, 502, 503, 504})  # a stream under way is asked for again after these


def events(request: Request, after: str, ended: Callable[[Event], bool]) -> Talk[Event, None]:
    """Hand out the events behind `after` ("": all) until one is the end or the server has no more.

    Raises a `Problem` where the server refuses, `Unavailable` when it has been gone for `GIVE_UP` seconds,
    `StreamCut` where a cut stream cannot be resumed.
    """
    parser, lost, waited = Parser(after), 0, 0.0
    while True:
        least = 0.0
        try:
            reply: Reply = yield _resumed(request, parser.last_id)
            if reply.status == 204:
                return
            if reply.status != 200:
                raise problem(reply.status, reply.headers, reply.body)
            if "text/event-stream" not in reply.headers.get("content-type", ""):
                raise BadAnswer("The answer is not an event stream; is this a Dockyard server?")
            place = parser.last_id
            parser = Parser(place, parser.retry)
            while chunk := (yield READ):
                for message in parser.feed(chunk):
                    if not _is_after(message.id, place):
                        continue
                    place, lost, waited = message.id or place, 0, 0.0
                    event = read(message)
                    yield Item(event)
                    if ended(event):
                        return
            cause: Exception = Unavailable("The server closed the stream before its end.")
        except Unavailable as exc:
            cause = exc
        except Problem as exc:
            if exc.status not in _AGAIN or not parser.last_id:
                raise
            cause, least = exc, exc.retry_after or 0.0
        if not parser.last_id and not request.safe:
            raise StreamCut(f"The stream broke and cannot be resumed: {cause}") from cause
        lost += 1
        delay = max(least, pause(lost + 1, parser.retry or 0.2))
        if waited + delay > GIVE_UP:
            raise cause
        waited += delay
        yield Sleep(delay)


def read(message: Message) -> Event:
    """An event out of its JSON. Phases are lower case, also from servers that are not strict about it."""
    try:
        said = json.loads(message.data)
    except ValueError as exc:
        raise BadAnswer(f"An event of the stream is not JSON: {message.data[:80]!r}.") from exc
    if not isinstance(said, dict):
        raise BadAnswer(f"An event of the stream is not an object: {message.data[:80]!r}.")
    state, text = said.get("state"), said.get("message")
    return Event(
        message.id, str(said.get("phase") or "unknown").lower(), text if isinstance(text, str) else "",
        state if isinstance(state, str) else None, said,
    )


def launch_ended(event: Event) -> bool:
    """Whether a launch has settled with this event."""
    return event.state in SETTLED


def build_ended(event: Event) -> bool:
    """Whether a build has ended with this event."""
    return event.state in ("built", "failed", "cancelled")


def binder_ended(event: Event) -> bool:
    """Whether a stream in BinderHub's words has ended with this event."""
    return event.phase in ("ready", "failed")


def _resumed(request: Request, place: str) -> Request:
    if not place:
        return request
    return dataclasses.replace(request, headers={**request.headers, "last-event-id": place})


def _is_after(new: str, old: str) -> bool:
    """Whether position `new` has not been seen, `old` being the last one that was."""
    if not new or not old:
        return True
    (stream, event, line), (stream_, event_, line_) = _position(new), _position(old)
    if stream != stream_:
        return True
    if event < 0 or event_ < 0:
        return new != old
    return event > event_ or line > line_


def _position(text: str) -> tuple[str, int, int]:
    """The parts of "<launch>.<event>.<line>"; numbers are -1 in an id of another form."""
    stream, _, rest = text.partition(".")
    event, _, line = rest.partition(".")
    if event.isdecimal() and line.isdecimal():
        return stream, int(event), int(line)
    return "", -1, -1
