"""Limits of one sandbox, as the shim sets them: a control group where the machine lets us make one, else rlimits.

Standard library only, because the shim imports it without site-packages. Version 1 hierarchies are used as root; in
version 2 the nearest ancestor of our own group that is delegated to us (controllers enabled, writable) gets a child.
Without a group the shim looks twice a second at what is in memory, private and shared, and kills the largest process as the kernel would;
RLIMIT_DATA, at twice the bound (programs reserve more than they use), stops one that is too fast for that.

RLIMIT_NPROC is not set here: it would count every process of the account. `inside` sets it in the sandbox's own user
namespace, where the count begins at zero.
"""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

ROOT = "/sys/fs/cgroup"
PARENT = "dockyard"


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _counted(text: str, key: str) -> int:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == key:
            return int(words[1])
    return 0


class Group:
    """The control group of one sandbox: a directory per hierarchy (version 1) or one (version 2); perhaps none at
    all.
    """

    def __init__(self, memory: list[str], pids: list[str], cpu: list[str]) -> None:
        self.memory, self.pids, self.cpu = memory, pids, cpu

    @property
    def directories(self) -> list[str]:
        """Every directory of the group, each once."""
        return list(dict.fromkeys(self.memory + self.pids + self.cpu))

    def enter(self) -> None:
        """Put the calling process into the group."""
        for directory in self.directories:
            _write(f"{directory}/cgroup.procs", str(os.getpid()))

    def out_of_memory(self) -> int:
        """How often the kernel has killed a process of the group for lack of memory."""
        return sum(
            max(
                _counted(_read(f"{directory}/memory.oom_control"), "oom_kill"),
                _counted(_read(f"{directory}/memory.events"), "oom_kill"),
            )
            for directory in self.memory
        )

    def out_of_processes(self) -> int:
        """How often a process or thread was refused."""
        return sum(_counted(_read(f"{directory}/pids.events"), "max") for directory in self.pids)

    def processes(self) -> list[int]:
        """The pids in the group."""
        return sorted({int(pid) for directory in self.directories for pid in _read(f"{directory}/cgroup.procs").split()})

    def kill(self) -> None:
        """Kill everything in the group."""
        for directory in self.directories:
            with suppress(OSError):
                _write(f"{directory}/cgroup.kill", "1")
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Remove the directories; the kernel needs a moment after the last process has gone."""
        for directory in self.directories:
            for _ in range(100):
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)


def _version1(name: str, memory: int, processes: int, cpus: float) -> Group:
    def make(controller: str, values: dict[str, str]) -> list[str]:
        directory = f"{ROOT}/{controller}/{PARENT}/{name}"
        try:
            os.makedirs(directory, exist_ok=True)
            for key, value in values.items():
                _write(f"{directory}/{key}", value)
        except OSError:
            return []
        return [directory]

    group = Group([], [], [])
    if memory:
        group.memory = make("memory", {"memory.limit_in_bytes": str(memory)})
        for directory in group.memory:
            with suppress(OSError):  # exists only where swap is accounted
                _write(f"{directory}/memory.memsw.limit_in_bytes", str(memory))
    if processes:
        group.pids = make("pids", {"pids.max": str(processes)})
    if cpus:
        group.cpu = make("cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(int(cpus * 100_000))})
    return group


def delegated() -> Iterator[str]:
    """Directories in the version 2 tree that may hold our groups, the nearest first."""
    root = f"{ROOT}/unified" if os.path.isdir(f"{ROOT}/unified") else ROOT
    own = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")
    path = os.path.dirname(root + own.rstrip("/"))
    while own and path.startswith(root):
        enabled = _read(f"{path}/cgroup.subtree_control").split()
        if {"memory", "pids"} <= set(enabled) and os.access(path, os.W_OK):
            yield path
        path = os.path.dirname(path)


def _version2(name: str, memory: int, processes: int, cpus: float) -> Group:
    for parent in delegated():
        directory = f"{parent}/{PARENT}-{name}"
        try:
            os.makedirs(directory, exist_ok=True)
            if memory:
                _write(f"{directory}/memory.max", str(memory))
                with suppress(OSError):
                    _write(f"{directory}/memory.swap.max", "0")
            if processes:
                _write(f"{directory}/pids.max", str(processes))
            if cpus:
                with suppress(OSError):
                    _write(f"{directory}/cpu.max", f"{int(cpus * 100_000)} 100000")
            # Entering may be refused although the directory is ours (the common ancestor counts): try with a child.
            if not _may_enter(directory):
                os.rmdir(directory)
                continue
        except OSError:
            continue
        return Group([directory], [directory], [])
    return Group([], [], [])


def _may_enter(directory: str) -> bool:
    pid = os.fork()
    if not pid:
        try:
            _write(f"{directory}/cgroup.procs", str(os.getpid()))
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def make_group(name: str, *, memory: int, processes: int, cpus: float) -> Group:
    """A group with these limits, as far as this machine allows; `memory` and `pids` of it are empty where it does
    not.
    """
    # Room for bubblewrap's own processes and `inside`, so that the figure means what the sandbox's program may have.
    processes = processes + 4 if processes else 0
    if os.path.isdir(f"{ROOT}/memory") and os.path.isdir(f"{ROOT}/pids"):
        return _version1(name, memory, processes, cpus)
    return _version2(name, memory, processes, cpus)


def apply_rlimits(*, data: int, files: int, file_bytes: int, cpu_seconds: int) -> None:
    """Bound the calling process and its children; 0 leaves a limit alone. A lower hard limit of the machine stays."""
    wanted = {
        resource.RLIMIT_DATA: data, resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_FSIZE: file_bytes, resource.RLIMIT_CPU: cpu_seconds,
    }  # fmt: skip
    for which, value in wanted.items():
        if value:
            hard = resource.getrlimit(which)[1]
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def resident(pids: list[int]) -> tuple[int, dict[int, int]]:
    """Bytes of memory that these processes hold in all, and what each would give back; those that have gone count nothing.

    What is shared counts once: mapped pages by each process's share of them, files in memory (memfd_create) that are only
    open by their size. A file that is mapped too is not counted twice, so that a program which splits its memory between the
    two kinds gets at most twice the bound.
    """
    private, mapped, files = 0, 0, dict[tuple[int, int], int]()
    found: dict[int, int] = {}
    for pid in pids:
        fields = dict(line.split(":", 1) for line in _read(f"/proc/{pid}/smaps_rollup").splitlines() if ":" in line)
        shared = _kilobytes(fields.get("Pss_Shmem", ""))
        if not fields:  # refused, or an old kernel
            fields = dict(line.split(":", 1) for line in _read(f"/proc/{pid}/status").splitlines() if ":" in line)
            shared = _kilobytes(fields.get("RssShmem", ""))
        if not fields:
            continue
        own = _kilobytes(fields.get("Pss_Anon", "") or fields.get("RssAnon", ""))
        held = _memory_files(pid)
        private, mapped = private + own, mapped + shared
        files |= held
        found[pid] = own + max(shared, sum(held.values()))
    return private + max(mapped, sum(files.values())), found


def _kilobytes(field: str) -> int:
    words = field.split()
    return int(words[0]) << 10 if words else 0


def _memory_files(pid: int) -> dict[tuple[int, int], int]:
    """The files in memory that a process has open: bytes by device and inode."""
    found: dict[tuple[int, int], int] = {}
    directory = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(directory):
            with suppress(OSError):
                if os.readlink(f"{directory}/{name}").startswith("/memfd:"):
                    file = os.stat(f"{directory}/{name}")
                    found[file.st_dev, file.st_ino] = file.st_blocks * 512
    return found


def children(pid: int) -> list[int]:
    """The processes whose parent is this one."""
    try:
        found: list[int] = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
        return found
    except FileNotFoundError:  # the process has gone, or the kernel does not tell (CONFIG_PROC_CHILDREN)
        return _tree().get(pid, [])
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    found, queue = [], [pid]
    while queue:
        below = children(queue.pop())
        found += below
        queue += below
    return found


def _tree() -> dict[int, list[int]]:
    """The children of every process, read from all of them."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            tail = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if len(tail) > 1:
                found.setdefault(int(tail[1]), []).append(int(name))
    return found


def tree_bytes(paths: list[str]) -> int:
    """Bytes that directories take on disk; what vanishes meanwhile counts nothing."""
    total, stack = 0, list(paths)
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            stack.append(entry.path)
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total
