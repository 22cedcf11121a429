"""Utilisation: how much of what GPU machines could have done they did.

What belongs here: machines with realistic times, one of them slow, and the share of their slots that was at work.
What does not: how fast the pipeline is when machines cost nothing (`throughput.py`).
Definition: of the stage that bounds the batch (stt), slot-seconds worked between the first and the last start of a
request on any machine, over all slots times that span. After the last start there is no work left to hand out, so idle
slots there are nobody's fault; before the first one nothing was known of the calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.databases import MeasuredDatabase
from bench.installation import FILES_PER_RUN, MeasuredInstallation
from bench.machines import MachineProcess, stub_processes
from bench.markdown import Section

CALLS = 800
SLOTS = 4
SLOW_FACTORS = (1.0, 1.0, 1.0, 3.0)
BOUNDING_STAGE = "stt"
SECONDS = {
    "lid": "lognormal:0.05,0.5",
    "stt": "lognormal:0.4,0.5",
    "llm1": "lognormal:0.1,0.5",
    "llm2": "lognormal:0.2,0.5",
}
"""Median and sigma; minutes of a real machine, shortened alike."""


@dataclass(frozen=True, slots=True)
class MachineUse:
    """What one machine did of the bounding stage between two moments."""

    slow_factor: float
    requests: int
    worked_s: float
    possible_s: float

    @property
    def share(self) -> float:
        return self.worked_s / self.possible_s if self.possible_s else 0.0


def span_of(counters: Sequence[dict[str, Any]], stage: str) -> tuple[float, float]:
    """First and last start of a request on any machine; machines that never worked do not count."""
    busy = [one["busy"][stage] for one in counters if one["requests"].get(stage)]
    return min(one["first_start"] for one in busy), max(one["last_start"] for one in busy)


def uses_of(machines: Sequence[MachineProcess], stage: str) -> list[MachineUse]:
    since, until = span_of([machine.counters() for machine in machines], stage)
    bounded = [machine.counters(since=since, until=until) for machine in machines]
    return [
        MachineUse(
            factor,
            one["requests"].get(stage, 0),
            one["busy"][stage]["worked_s"],
            one["capacity"] * (until - since),
        )
        for factor, one in zip(SLOW_FACTORS, bounded, strict=True)
    ]


def overall(uses: Sequence[MachineUse]) -> float:
    return sum(use.worked_s for use in uses) / sum(use.possible_s for use in uses)


def utilisation(folder: Path, database: MeasuredDatabase, calls: int, say: Callable[[str], None]) -> Section:
    """The share of what was possible that the machines were busy, each and all."""
    say(f"utilisation: {calls} calls on {len(SLOW_FACTORS)} machines")
    options = [
        ["--capacity", str(SLOTS), "--slow-factor", str(factor), "--seed", str(seed)]
        + [word for stage, draw in SECONDS.items() for word in (f"--{stage}-seconds", draw)]
        for seed, factor in enumerate(SLOW_FACTORS, start=1)
    ]
    with stub_processes(options) as machines:
        urls = [machine.url for machine in machines]
        batch = MeasuredInstallation(folder / "utilisation", database, urls).work_through(calls)
        uses = uses_of(machines, BOUNDING_STAGE)
    rows = [row_of(number, use) for number, use in enumerate(uses, start=1)]
    worked, possible = sum(use.worked_s for use in uses), sum(use.possible_s for use in uses)
    total = ["all", str(sum(use.requests for use in uses)), f"{worked:.0f} of {possible:.0f}", f"{overall(uses):.1%}"]
    return Section(
        "How busy the machines are kept",
        f"{calls} calls, {FILES_PER_RUN} a run, on {database.name}; {len(uses)} stub machines of {SLOTS} slots a stage "
        f"with log-normal times (median {', '.join(_median(stage) for stage in SECONDS)}; sigma 0.5), one of them "
        f"three times slower. Busy is: slot-seconds worked on {BOUNDING_STAGE}, the stage that bounds the batch, "
        "between its first and last start on any machine, as a share of all its slots over that time.",
        ("machine", "requests", "slot-seconds", "busy"),
        [*rows, total],
        f"The run took {sum(run.wall_s for run in batch.runs):.1f} s, {batch.run_cpu_ms_per_call:.1f} ms of CPU a "
        "call in its process.",
    )


def row_of(number: int, use: MachineUse) -> list[str]:
    name = str(number) if use.slow_factor == 1.0 else f"{number}, {use.slow_factor:g} times slower"
    return [name, str(use.requests), f"{use.worked_s:.0f} of {use.possible_s:.0f}", f"{use.share:.1%}"]


def _median(stage: str) -> str:
    return f"{stage} {SECONDS[stage].partition(':')[2].partition(',')[0]} s"
