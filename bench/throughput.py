"""Throughput: how fast the pipeline itself is, with GPU machines that answer at once.

What belongs here: what is measured of a batch through all stages, on each database, and what bulk event storage
brings. What does not: how busy machines are kept (`utilisation.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.databases import MeasuredDatabase
from bench.installation import FILES_PER_RUN, RECORDING_BYTES, BatchMeasure, MeasuredInstallation
from bench.machines import stub_processes
from bench.markdown import Section
from cofi_resources.forms import read_form

CALLS = 2000
CALLS_WITH_STOCK_EVENTS = 200
"""Fewer, since stock storages take milliseconds for each of ten events a call."""

MACHINES, SLOTS, SEGMENTS = 2, 16, 50
MEBI = 1 << 20

HEADER = (
    "database",
    "calls/s",
    "CPU ms a call in the run",
    "in the database",
    "in the stub machines",
    "peak MiB of a run",
    "Dagster events/s",
)


@dataclass(frozen=True, slots=True)
class Throughput:
    """A batch, and the CPU of the stub machines that shared the cores with it."""

    database: str
    batch: BatchMeasure
    machines_cpu_s: float

    def row(self) -> list[str]:
        calls = self.batch.calls
        return [
            self.database,
            f"{self.batch.calls_per_s:.0f}",
            f"{self.batch.run_cpu_ms_per_call:.1f}",
            f"{1000 * self.batch.database_cpu_s / calls:.1f}",
            f"{1000 * self.machines_cpu_s / calls:.1f}",
            f"{self.batch.peak_rss_bytes / MEBI:.0f}",
            f"{self.batch.events_per_s:.0f}",
        ]


def measure_batch(home: Path, database: MeasuredDatabase, calls: int, *, bulk_events: bool = True) -> Throughput:
    """One batch through all stages in a fresh installation, with stub machines of its own."""
    options = [("--capacity", str(SLOTS), "--segments", str(SEGMENTS), "--seed", str(n)) for n in range(MACHINES)]
    with stub_processes(options) as machines:
        before = sum(machine.cpu_s for machine in machines)
        urls = [machine.url for machine in machines]
        batch = MeasuredInstallation(home, database, urls, bulk_events=bulk_events).work_through(calls)
        return Throughput(database.name, batch, sum(machine.cpu_s for machine in machines) - before)


def throughput(folder: Path, databases: Sequence[MeasuredDatabase], calls: int, say: Callable[[str], None]) -> Section:
    """Calls a second, CPU and memory on each database."""
    rows = []
    for number, database in enumerate(databases):
        say(f"throughput: {calls} calls on {database.name}")
        rows.append(measure_batch(folder / f"throughput-{number}", database, calls).row())
    return Section(
        "Throughput",
        f"{calls} calls in runs of {FILES_PER_RUN}, one run after the other, through all five stages, with "
        f"{SEGMENTS} segments and {len(read_form().questions)} answers a call; {MACHINES} stub GPU machines that "
        f"answer at once, and the database, are on the same cores. Recordings of {RECORDING_BYTES // 1024} KiB. "
        "Counted from creating the runs in Dagster to the end of the last one, without the start of processes.",
        HEADER,
        rows,
    )


def bulk_events(folder: Path, databases: Sequence[MeasuredDatabase], calls: int, say: Callable[[str], None]) -> Section:
    """The same batch with the bulk event storage and with Dagster's own."""
    return Section(
        "Dagster events in bulk",
        f"{calls} calls as above, with this project's event storage and with the one it extends.",
        ("database", "bulk: calls/s", "stock: calls/s", "bulk is faster by"),
        list(_compared(folder, databases, calls, say)),
    )


def _compared(
    folder: Path, databases: Sequence[MeasuredDatabase], calls: int, say: Callable[[str], None]
) -> Iterator[list[str]]:
    for number, database in enumerate(databases):
        say(f"bulk events: {calls} calls twice on {database.name}")
        bulk = measure_batch(folder / f"bulk-{number}", database, calls).batch
        stock = measure_batch(folder / f"stock-{number}", database, calls, bulk_events=False).batch
        ratio = bulk.calls_per_s / stock.calls_per_s
        yield [database.name, f"{bulk.calls_per_s:.1f}", f"{stock.calls_per_s:.1f}", f"{ratio:.1f} times"]
