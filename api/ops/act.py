"""What an act is: something that is asked about first and then done."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request

from services.usecases.jobs import Job

Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """Something to fill in before it is done."""

    name: str
    label: str
    value: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """How it is asked."""

    title: str
    text: str
    button: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that can be done, with a job or (None) with the service.

    `can` says with which; `words` ask; `do` does it, and raises a `DockyardError` where it cannot. `grave`: it takes something away.
    `stays`: the job is worth looking at afterwards.
    """

    name: str
    can: Callable[[Job | None], bool]
    words: Callable[[Job | None], Words]
    do: Callable[[Request, Job | None, Form], Awaitable[None]]
    grave: bool = True
    stays: bool = False
