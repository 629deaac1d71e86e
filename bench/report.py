"""What a bench prints: the machine, then one line per figure with the median of its runs, and the peer's beside it."""

import json
import sys
from dataclasses import dataclass, field
from statistics import median
from typing import TextIO

from bench.machine import Machine


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured; one value per run. `peer` is the same of a BinderHub, in the same bench."""

    name: str
    unit: str
    values: tuple[float, ...]
    peer: tuple[float, ...] = ()
    more_is_better: bool = False

    @property
    def median(self) -> float:
        """The median of the runs."""
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; below 1: worse."""
        if not self.peer or not median(self.peer) or not self.median:
            return None
        ours, theirs = self.median, median(self.peer)
        return ours / theirs if self.more_is_better else theirs / ours


@dataclass(slots=True)
class Report:
    """The figures of one bench; `checks` are sentences, each with whether it held."""

    bench: str
    machine: Machine
    figures: list[Figure] = field(default_factory=list)
    checks: list[tuple[str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all checks held."""
        return all(held for _, held in self.checks)

    def add(
        self, name: str, unit: str, values: list[float], peer: list[float] | None = None, *, more: bool = False
    ) -> None:
        """Add a figure; `more` when more is better."""
        self.figures.append(Figure(name, unit, tuple(values), tuple(peer or ()), more))

    def check(self, sentence: str, held: bool) -> None:
        """Add something that has to be true."""
        self.checks.append((sentence, held))

    def as_json(self) -> str:
        """Everything, for a program."""
        figures = [
            {
                "name": f.name, "unit": f.unit, "median": f.median, "values": f.values,
                **({"peer": median(f.peer), "peer_values": f.peer, "ratio": f.ratio} if f.peer else {}),
            }
            for f in self.figures
        ]
        checks = [{"check": sentence, "ok": held} for sentence, held in self.checks]
        return json.dumps({
            "bench": self.bench, "machine": self.machine.as_dict(), "figures": figures, "checks": checks,
            "notes": self.notes,
        }, indent=1)

    def print(self, *, as_json: bool = False, to: TextIO = sys.stdout) -> None:
        """Write it all."""
        if as_json:
            to.write(self.as_json() + "\n")
            return
        to.write(f"bench {self.bench}\n{self.machine}\n\n")
        rows = [self._row(figure) for figure in self.figures]
        head: tuple[str, ...] = ("figure", "median", "runs", "peer", "better ×")
        if not any(figure.peer for figure in self.figures):
            rows, head = [row[:3] for row in rows], head[:3]
        to.write(table([head, *rows]))
        for sentence, held in self.checks:
            to.write(f"{'ok  ' if held else 'NOT '} {sentence}\n")
        for note in self.notes:
            to.write(f"note {note}\n")

    @staticmethod
    def _row(figure: Figure) -> tuple[str, ...]:
        runs = " ".join(number(value) for value in figure.values) if len(figure.values) > 1 else ""
        peer = f"{number(median(figure.peer))} {figure.unit}" if figure.peer else ""
        ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
        return figure.name, f"{number(figure.median)} {figure.unit}", runs, peer, ratio


def number(value: float) -> str:
    """Three significant digits, more only where they are whole."""
    if value != value or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns under a head, the first one to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(_padded(row, widths)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _padded(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
