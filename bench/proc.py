"""What the kernel says of processes: CPU time and peak memory.

What belongs here: reading `/proc` (Linux). What does not: starting processes.
Decision: the peak is `VmHWM`, not `getrusage`: the latter counts what the parent held when it started the process.
"""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process has used so far."""
    # The process's name, in brackets, may hold blanks; what follows it does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def own_peak_bytes() -> int:
    """The most memory this process ever held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM: this needs Linux")
