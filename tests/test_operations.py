"""docs/operations.md has every number that a process tells, with its labels, and none that does not exist."""

import re
from pathlib import Path
from types import SimpleNamespace

from prometheus_client import CollectorRegistry

from api.metrics import _COUNTERS, _HISTOGRAMS, ApiMetrics
from reaper.outlets import OutletNumbers
from reaper.sweeps import Sweeps
from services.lifecycle.numbers import LoopCollector, Surroundings
from services.observe import Metrics

DOCS = Path(__file__).parents[1] / "docs/operations.md"
EVERYBODYS = ("process_", "python_")  # of the client library


def labels_of(registry: CollectorRegistry) -> dict[str, str]:
    """Names as they are scraped, with their labels as far as there are samples."""
    found = {}
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        if not name.startswith(EVERYBODYS):
            found[name] = ", ".join(getattr(registry._names_to_collectors.get(name), "_labelnames", ()) or _written(family))
    return found


def _written(family: object) -> tuple[str, ...]:
    """The labels of a family that a collector of ours has made."""
    return tuple(getattr(family, "_labelnames", ()))


def told() -> dict[str, tuple[str, str]]:
    """Every number: labels, and who tells it."""
    everyone, api, reaper, worker = Metrics("worker"), Metrics("api"), Metrics("reaper"), CollectorRegistry()
    ApiMetrics(api, None, None, lambda: 0)
    OutletNumbers(reaper.registry)
    Sweeps(None, {}, reaper.registry)
    worker.register(LoopCollector([]))
    everyone.registry.register(Surroundings(SimpleNamespace(ok=True)))
    rows = {name: (labels, "each") for name, labels in labels_of(everyone.registry).items()}
    rows |= {name: (labels, "worker, launcher") for name, labels in labels_of(worker).items()}
    for who, metrics in (("api", api), ("reaper", reaper)):
        rows |= {name: (labels, who) for name, labels in labels_of(metrics.registry).items() if name not in rows}
    for name, _, labels, _ in _COUNTERS:
        rows[f"{name}_total"] = (", ".join(filter(None, labels)), "api that counts")
    for name, _, labels, _ in _HISTOGRAMS:
        rows[name] = (", ".join(filter(None, labels)), "api that counts")
    return rows


def test_the_table_of_numbers_is_complete_and_true() -> None:
    lines = re.findall(r"^\| `((?:dockyard|binderhub)_\w+)` \| ([^|]*) \| ([^|]*) \|", DOCS.read_text(), re.M)
    written = {name: (labels.replace("`", "").strip(), who.strip()) for name, labels, who in lines}
    assert written == told()
