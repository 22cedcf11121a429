"""What figures were made on: the machine, and the versions that matter.

What belongs here: looking at this machine. What does not: databases' versions (`databases.py`), figures.
"""

import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

DISTRIBUTIONS = ("dagster", "SQLAlchemy", "aiohttp")


def statement(command: str, day: date) -> str:
    """One paragraph: the command, the day, the machine, how busy it was, and the versions."""
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in DISTRIBUTIONS)])
    return (
        f"`{command}` on {day.isoformat()}: {cores} cores of {_cpu_model()}, {_memory_gib():.0f} GiB of memory, "
        f"{platform.system()} {platform.release()}; {versions}. Load of the machine before the start: "
        f"{os.getloadavg()[0]:.1f}."
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
