"""JSON into the dataclasses of `models`.

The classes themselves say what is expected; there is no second description. Unknown keys are ignored and
missing ones take their default, but a value of a wrong type is an error that names its place, not a surprise
later on.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from dockyard_client.errors import BadAnswer
from dockyard_client.models import Page

T = TypeVar("T")


def document(body: bytes) -> Any:
    """The JSON of a body; raises `BadAnswer`."""
    try:
        return json.loads(body)
    except ValueError as exc:
        raise BadAnswer(f"The server's answer is not JSON: {body[:80]!r}.") from exc


def one(kind: type[T], body: bytes) -> T:
    """An object of this class out of a body."""
    return typing.cast("T", _value(kind, document(body), kind.__name__))


def page(kind: type[T], body: bytes) -> Page[T]:
    """A page of objects of this class out of a body."""
    said = document(body)
    if not isinstance(said, dict) or not isinstance(said.get("items"), list):
        raise BadAnswer("The server's answer is not a page of a list.")
    items = tuple(_value(kind, item, f"{kind.__name__}[{i}]") for i, item in enumerate(said["items"]))
    return Page(items, _value(str | None, said.get("next"), "next"))


@cache
def _fields(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return tuple(
        (f.name, hints[f.name], f.default is missing and f.default_factory is missing)
        for f in dataclasses.fields(kind)
    )


def _value(kind: Any, said: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _object(typing.cast("type", kind), said, where)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # only X | None
        return None if said is None else _value(inner[0], said, where)
    if origin is Mapping:
        if not isinstance(said, dict):
            raise BadAnswer(f"{where} is not an object.")
        return {str(key): _value(inner[1], value, f"{where}.{key}") for key, value in said.items()}
    if kind is datetime:
        return _moment(said, where)
    if kind is float and type(said) is int:
        return float(said)
    if type(said) is not kind:
        raise BadAnswer(f"{where} is {said!r}, expected {kind.__name__}.")
    return said


def _object(kind: type, said: Any, where: str) -> Any:
    if not isinstance(said, dict):
        raise BadAnswer(f"{where} is not an object.")
    values: dict[str, Any] = {}
    for name, hint, required in _fields(kind):
        if name in said:
            values[name] = _value(hint, said[name], f"{where}.{name}")
        elif required:
            raise BadAnswer(f"{where} has no {name}; is this the address of a Dockyard server?")
    return kind(**values)


def _moment(said: Any, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(said)
    except (TypeError, ValueError) as exc:
        raise BadAnswer(f"{where} is {said!r}, expected a time.") from exc
    if moment.tzinfo is None:
        raise BadAnswer(f"{where} is {said!r}, a time without a zone.")
    return moment
