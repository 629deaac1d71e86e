"""The edge of a command: an error of ours becomes its sentence on stderr and exit status 1."""

import contextlib
from collections.abc import Iterator

import typer

from cli.embedded.story import fail
from services.errors import DockyardError


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Turn `DockyardError` into its sentence and the exit status."""
    try:
        yield
    except DockyardError as error:
        fail(error.sentence)
        raise typer.Exit(1) from error
