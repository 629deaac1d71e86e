"""How settings come together: small frozen groups, filled from defaults, a file, the environment and flags.

A value is looked up, last one wins, in: the default in the class; the TOML file named by `DOCKYARD_CONFIG` or
`--config` (`[group] key = value`); the environment variable `DOCKYARD_<GROUP>_<KEY>` (a secret also in the file
that `DOCKYARD_<GROUP>_<KEY>_FILE` names); flags (`--set group.key=value`). Where each value came from is kept, for `dockyard config`. Lists and tables are written as JSON in
variables and flags; a list of words may also be separated by commas. A wrong value names its key, its origin and what
would be right. """

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from services.errors import Misconfigured

G = TypeVar("G", bound="Group")


class Group(BaseModel):
    """A frozen group of settings; the docstring of the class and the descriptions of the fields are the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    group: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: "default", "file PATH", "environment NAME" or "flag"."""

    text: str


def variable(group: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"DOCKYARD_{group}_{key}".upper()


def _parsed(raw: str, annotation: Any) -> Any:
    """A value from the environment or a flag: JSON for lists and tables, otherwise the text itself."""
    if get_origin(annotation) in (list, tuple, dict, set, frozenset):
        text = raw.strip()
        if text.startswith(("[", "{")):
            return json.loads(text)
        return [part.strip() for part in text.split(",") if part.strip()]
    return raw


def _problem(cls: type[Group], origins: Mapping[str, Origin], error: ValidationError) -> Misconfigured:
    first, group = error.errors()[0], cls.group
    key = str(first["loc"][0]) if first["loc"] else "?"
    secret = key in cls.model_fields and is_secret(cls.model_fields[key].annotation)
    origin = origins[key].text if key in origins else "default"
    got = "" if secret else f" (got {first.get('input')!r})"
    return Misconfigured(f"Setting {group}.{key} ({origin}): {first['msg'].removeprefix('Value error, ')}{got}.")


def is_secret(annotation: Any) -> bool:
    """Whether a setting holds secrets: itself, or in a table."""
    return annotation is SecretStr or SecretStr in get_args(annotation)


def file_content(flag: str, path: Path) -> str:
    """A secret that stands in a file of its own, without the line end that editors leave."""
    try:
        return path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"Setting {flag}: its file {path} cannot be read.") from error


def load_file(path: Path | None) -> dict[str, dict[str, Any]]:
    """The groups of a TOML file; `Misconfigured` if it cannot be read."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise Misconfigured(f"Settings file {path} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"Settings file {path} is not TOML: {error}.") from error


def load_group(
    cls: type[G],
    *,
    file: Mapping[str, Any],
    file_name: str,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    defaults: Mapping[str, Any],
) -> tuple[G, dict[str, Origin]]:
    """One group with the origin of each of its values."""
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for key in file:
        if key not in cls.model_fields:
            known = ", ".join(cls.model_fields)
            raise Misconfigured(f"Setting {cls.group}.{key} (file {file_name}) is unknown; {cls.group} has: {known}.")
    for key, field in cls.model_fields.items():
        name, flag = variable(cls.group, key), f"{cls.group}.{key}"
        raw: str | None = None
        if key in defaults:
            values[key], origins[key] = defaults[key], Origin("default of this command")
        if key in file:
            values[key], origins[key] = file[key], Origin(f"file {file_name}")
        if name in environ:
            raw, origins[key] = environ[name], Origin(f"environment {name}")
        elif f"{name}_FILE" in environ and is_secret(field.annotation):
            raw, origins[key] = file_content(flag, Path(environ[f"{name}_FILE"])), Origin(f"file named by {name}_FILE")
        if flag in flags:
            raw, origins[key] = flags[flag], Origin("flag")
        if raw is not None:
            try:
                values[key] = _parsed(raw, field.annotation)
            except json.JSONDecodeError as error:
                raise Misconfigured(f"Setting {flag} ({origins[key].text}) is not valid JSON: {error}.") from error
        origins.setdefault(key, Origin("default"))
    try:
        return cls(**values), origins
    except ValidationError as error:
        raise _problem(cls, origins, error) from None


def environment(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """The process's environment unless another is given."""
    return os.environ if environ is None else environ
