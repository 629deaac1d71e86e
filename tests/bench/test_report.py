"""Medians, ratios and what is printed."""

import io
import json

from bench.machine import Machine, describe
from bench.report import Figure, Report, number, table

MACHINE = Machine("Some CPU", 2, 24576, "6.1", "3.11.7", 0.5, "abc1234", {"uvloop": "0.23.0"})


def test_the_median_of_the_runs_counts() -> None:
    assert Figure("x", "ms", (5.0, 1.0, 3.0)).median == 3.0


def test_a_ratio_above_one_is_better_whatever_is_measured() -> None:
    assert Figure("rate", "/s", (900.0, 1000.0, 1100.0), (500.0,), more_is_better=True).ratio == 2.0
    assert Figure("lag", "ms", (50.0,), (100.0, 100.0, 400.0)).ratio == 2.0
    assert Figure("lag", "ms", (50.0,)).ratio is None
    assert Figure("lag", "ms", (0.0,), (1.0,)).ratio is None


def test_numbers_have_three_digits() -> None:
    assert [number(n) for n in (0.12345, 12.345, 1234.5, 100.0)] == ["0.123", "12.3", "1,234", "100"]


def test_a_table_is_aligned() -> None:
    assert table([("figure", "median"), ("a", "1 ms"), ("bcd", "20 ms")]) == (
        "figure  median\n------  ------\na         1 ms\nbcd      20 ms\n"
    )


def report() -> Report:
    said = Report("launches", MACHINE)
    said.add("ready per second", "/s", [800.0, 900.0, 700.0], [400.0], more=True)
    said.check("every row is there", True)
    return said


def test_what_is_printed() -> None:
    out = io.StringIO()
    report().print(to=out)
    text = out.getvalue()
    assert "2 × Some CPU, 24 GiB, Linux 6.1, load 0.50" in text
    assert text.splitlines()[-2].split() == ["ready", "per", "second", "800", "/s", "800", "900", "700", "400", "/s", "2.00"]
    assert text.endswith("ok   every row is there\n")


def test_the_same_for_programs() -> None:
    said = json.loads(report().as_json())
    assert said["figures"] == [{
        "name": "ready per second", "unit": "/s", "median": 800.0, "values": [800.0, 900.0, 700.0], "peer": 400.0,
        "peer_values": [400.0], "ratio": 2.0,
    }]
    assert said["machine"]["versions"] == {"uvloop": "0.23.0"}
    assert said["checks"] == [{"check": "every row is there", "ok": True}]


def test_a_check_that_does_not_hold_fails_the_bench() -> None:
    said = report()
    assert said.ok
    said.check("nothing is lost", False)
    assert not said.ok


def test_this_machine() -> None:
    here = describe()
    assert here.cores >= 1
    assert here.memory > 100
    assert here.versions["uvloop"]
