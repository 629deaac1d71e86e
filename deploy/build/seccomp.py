"""Writes seccomp.json: what a contained build may not ask of the kernel. `python deploy/build/seccomp.py > deploy/build/seccomp.json`.

Docker's default profile forbids `unshare`, `mount` and what goes with them to processes without CAP_SYS_ADMIN, and a builder
needs those inside of its own user namespace. This profile allows them and forbids what no build needs: the kernel's modules,
keys, clocks, tracing of others, eBPF, and interfaces that were the way out of containers before.
"""

import json

FORBIDDEN = """
acct add_key bpf clock_adjtime clock_settime create_module delete_module fanotify_init finit_module get_kernel_syms
init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie
move_pages nfsservctl open_by_handle_at perf_event_open process_madvise process_vm_readv process_vm_writev ptrace query_module
quotactl quotactl_fd reboot request_key settimeofday stime swapoff swapon syslog sysfs _sysctl userfaultfd ustat vhangup vm86
vm86old name_to_handle_at
"""


def profile() -> dict[str, object]:
    """The profile, in Docker's format."""
    names = sorted(FORBIDDEN.split())
    sockets = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}  # AF_VSOCK
    packet = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 17, "op": "SCMP_CMP_EQ"}]}  # AF_PACKET
    return {
        "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1,
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}, sockets, packet],
    }


if __name__ == "__main__":
    print(json.dumps(profile(), indent=1))
