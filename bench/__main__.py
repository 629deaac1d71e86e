"""`python -m bench NAME`, also as `./dockyard bench NAME`."""

import argparse
import signal
import sys
from importlib import import_module

BENCHES = {
    "launches": "found image to `ready`, against a hub that starts nothing",
    "watchers": "many watchers of one build: lines received, lag, memory",
    "pages": "requests per second and bytes of pages, badge, files and health",
    "idle": "memory and CPU of everything when nobody uses it",
    "faults": "launches while everything is killed, paused, cut off and restarted",
    "gaps": "launches while the hub, Valkey or Postgres are away for minutes",
    "crowd": "three hundred clients behind one address on one new link: one build, all ready",
    "cycles": "thousands of launches that start and stop, and what grows meanwhile",
    "cold": "from nothing to healthy, first and second launch of a repository",
}


def main(argv: list[str]) -> int:
    """Run one bench; 0 if all its checks held."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure Dockyard; everything stops by itself.")
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, about in BENCHES.items():
        module = import_module(f"bench.{name}")
        sub = names.add_parser(name, help=about, description=module.__doc__)
        sub.add_argument("-n", "--runs", type=int, default=3, help="runs of each measurement; the median counts")
        sub.add_argument("--json", action="store_true", help="print JSON")
        module.arguments(sub)
        sub.set_defaults(bench=module.bench)
    args = parser.parse_args(argv)
    # A bench that is told to end stops what it has started, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = args.bench(args)
    except KeyboardInterrupt:
        return 130
    report.print(as_json=args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
