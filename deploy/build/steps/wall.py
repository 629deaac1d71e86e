"""Writes rules of the packet filter in the machine's own network: `python -m steps wall JSON`.

The rules come ready from `services.runtimes.docker.wall`; here is what only the machine knows: which of the two kinds of
iptables its engine uses, and where its resolvers are, which every container may ask.
"""

import contextlib
import ipaddress
import json
import subprocess
import sys
from pathlib import Path


def write(told: list[dict[str, object]]) -> int:
    """Make, replace or (without rules) remove the chains of networks; the exit status."""
    program = next((name for name in ("iptables-nft", "iptables-legacy") if _done(name, "-S", "DOCKER-USER")), "")
    if not program:
        print("the machine has no chain DOCKER-USER that this container could see")
        return 1
    return max((_write(program, network) for network in told), default=0)


def _write(program: str, told: dict[str, object]) -> int:
    chain, rules = str(told["chain"]), str(told["rules"])
    if rules:
        text = "\n".join(line for written in rules.splitlines() for line in _resolved(written)) + "\n"
        # An option of its own for the lock: it is in the machine's /run, which we do not see.
        done = subprocess.run([f"{program}-restore", "--noflush", "-w", "10"], input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{program}-restore fails")
            return 1
    subnets = told["subnets"] if isinstance(told["subnets"], list) else []
    for parent, name in (("DOCKER-USER", chain), ("INPUT", f"{chain}-IN")):
        wanted = [["-s", str(ipaddress.ip_network(subnet)), "-j", name] for subnet in subnets]
        for words in wanted:
            if not _done(program, "-C", parent, *words) and not _done(program, "-I", parent, "1", *words):
                print(f"{parent} does not take a rule")
                return 1
        _tidy(program, parent, name, wanted)
        if not rules:
            _done(program, "-F", name)
            _done(program, "-X", name)
    return 0


def _tidy(program: str, parent: str, name: str, wanted: list[list[str]]) -> None:
    """Remove calls of the chain for networks that are no more, those that are there twice, and what an installation that was killed
    has left about addresses that are this network's now.
    """
    left, ours = [" ".join(words) for words in wanted], [ipaddress.ip_network(words[1]) for words in wanted]
    for line in subprocess.run([program, "-w", "10", "-S", parent], capture_output=True, text=True, check=True).stdout.splitlines():
        words = line.split()
        if words[:1] != ["-A"] or words[2:3] != ["-s"] or not words[-1].startswith("DOCKYARD-"):
            continue
        rule = " ".join(words[2:])
        if words[-1] == name and rule in left:
            left.remove(rule)
        elif words[-1] == name or any(ipaddress.ip_network(words[3]).overlaps(one) for one in ours):
            _done(program, "-D", *words[1:])


def _resolved(line: str) -> list[str]:
    """A line, or what `{dns} CHAIN` stands for."""
    if not line.startswith("{dns} "):
        return [line]
    found = []
    for written in Path("/etc/resolv.conf").read_text().splitlines():
        words = written.split()
        with contextlib.suppress(ValueError):
            if words[:1] == ["nameserver"] and ipaddress.ip_address(words[1]).version == 4:
                found += [f"-A {line.split()[1]} -d {words[1]} -p {kind} --dport 53 -j RETURN" for kind in ("udp", "tcp")]
    return found


def _done(program: str, *words: str) -> bool:
    return subprocess.run([program, "-w", "10", *words], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(write(json.loads(sys.argv[1])))
