"""What processes take, as Linux counts it: CPU seconds and resident memory of a process with its children."""

import os
import pathlib

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree(pid):
    """The process and all that descend from it, as far as they live."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = after_name(stat.read_text())
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left.extend(children.get(found[-1], []))
    return found


def after_name(stat):
    """The fields behind the name, which may hold blanks: state, parent, …"""
    return stat.rsplit(")", 1)[1].split()


def cpu_seconds(pids):
    """User and system time, with that of children which have ended and were waited for."""
    ticks = 0
    for pid in pids:
        try:
            fields = after_name(pathlib.Path(f"/proc/{pid}/stat").read_text())
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def resident_bytes(pids):
    """Shared pages count once per process: an upper bound for several."""
    pages = 0
    for pid in pids:
        try:
            pages += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * PAGE_BYTES
