"""`python -m reaper.once [--dry-run] [NAME …]`: every sweep, or those named, one after the other, now.

A dry run says what each would do, and does nothing. Otherwise a sweep that another reaper runs just now is left to it.
"""

import asyncio
import sys
from collections.abc import Mapping

from reaper.deeds import Deeds
from reaper.sweeps import Findings, Sweep, Sweeps
from reaper.table import table
from services.errors import DockyardError, Misconfigured
from services.lifecycle import Process
from services.lifecycle.process import configured
from services.settings import Settings, load

_ORDER = ("nudge", "activity", "cull", "abandoned", "unwanted", "users", "things", "images", "expire", "schema")


async def run(settings: Settings, names: list[str], *, dry: bool) -> int:
    """Run the sweeps and print what they find; 1 if one could not be finished."""
    process, deeds, failed = Process(settings, "sweep"), Deeds(dry=dry), 0
    try:
        async with table(settings, process.teller, deeds) as found:
            if unknown := set(names) - set(found):
                raise Misconfigured(f"There is no sweep {', '.join(sorted(unknown))}; there are: {', '.join(_ORDER)}.")
            for name in names or _ORDER:
                failed += await (_looked(name, found, deeds) if dry else _done(name, found, process))
    finally:
        await process.aclose()
    return int(failed > 0)


async def _looked(name: str, found: Mapping[str, Sweep], deeds: Deeds) -> int:
    deeds.told.clear()
    try:
        findings = await found[name]()
    except (DockyardError, OSError) as error:
        print(f"{name:<10} cannot look: {getattr(error, 'sentence', error)}")
        return 1
    print(f"{name:<10} {_told(findings)}")
    for sentence in deeds.told:
        print(f"{'':<10} would {sentence}")
    return 0


async def _done(name: str, found: Mapping[str, Sweep], process: Process) -> int:
    findings = await Sweeps(process.db, {name: found[name]}, owner=process.owner).run(name, 0)
    print(f"{name:<10} {'not finished, or run by another reaper just now' if findings is None else _told(findings)}")
    return int(findings is None)


def _told(findings: Findings) -> str:
    told = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in findings.items() if number)
    return told or "nothing to do"


def main() -> int:
    """The command."""
    settings = load()
    configured(settings, "sweep")
    words = sys.argv[1:]
    return asyncio.run(run(settings, [word for word in words if word != "--dry-run"], dry="--dry-run" in words))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Misconfigured as error:
        sys.exit(error.sentence)
