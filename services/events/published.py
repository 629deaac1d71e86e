"""Events as they leave the house: BinderHub's launch event, and ours for every move.

Neither holds what opens or stops anything: of a launch's id the first twelve digits are told, as in the logs, and nothing of
its server or its client's address. BinderHub's is `binderhub.jupyter.org/launch`, version 6 (its event-schemas/launch.json and
builder.py), which is told of launches that succeed and of no others. Its `provider` is an enumeration; what BinderHub does not
know is told as `Git` with the address of the repository, as BinderHub would have had it launched. """

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from services.events.kinds import Kind

BINDERHUB, OURS = "binderhub", "dockyard"
_NAMES = {
    "gh": "GitHub", "gist": "Gist", "gl": "GitLab", "git": "Git", "zenodo": "Zenodo", "figshare": "Figshare", "hydroshare": "Hydroshare",
    "dataverse": "Dataverse", "ckan": "CKAN",
}
_DATA = ("message", "attempt", "seconds", "image", "found", "why")  # of an event's own data


def bodies(row: Mapping[str, Any], schemas: list[str]) -> Iterator[dict[str, Any]]:
    """What is told of one event; `row` has the event's columns and the launch's."""
    if BINDERHUB in schemas and row["kind"] == Kind.READY:
        yield binderhub(row)
    if OURS in schemas:
        yield ours(row)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def binderhub(row: Mapping[str, Any]) -> dict[str, Any]:
    """A launch that succeeded."""
    known = row["provider"] in _NAMES
    spec = row["spec"] if known else f"{quote(row['repo_url'] or row['repo'], safe='')}/{row['ref']}"
    return {
        "timestamp": _time(row["at"]), "schema": "binderhub.jupyter.org/launch", "version": 6,
        "provider": _NAMES.get(row["provider"], "Git"), "spec": spec, "ref": row["resolved_ref"] or row["ref"], "status": "success",
        "build_token": row["build_token"], "origin": urlsplit(row["launch_host"]).netloc, "request_origin": row["origin"],
    }


def ours(row: Mapping[str, Any]) -> dict[str, Any]:
    """One move of one launch. `id` is the same whenever it is sent again."""
    data, launch = row["data"], row["launch"][:12]
    reason = data.get("reason") or {}
    return {
        "timestamp": _time(row["at"]), "schema": "dockyard/launch", "version": 1, "id": f"{launch}.{row['seq']}",
        "launch": launch, "seq": row["seq"], "event": row["kind"], "state": row["state"],
        "provider": row["provider"], "spec": row["spec"], "repo": row["repo"], "ref": row["ref"], "resolved_ref": row["resolved_ref"],
        "build": (row["build"] or "")[:12] or None, "build_only": row["build_only"],
        "reason": {"code": reason.get("code", ""), "message": reason.get("message", "")} if reason else None,
        **{key: data[key] for key in _DATA if key in data},
    }
