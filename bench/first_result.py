"""First result: how long a person waits for one short call in an embedded installation.

What belongs here: `cofi dev` with a fresh home and one dropped recording, seen from outside. What does not: what the
answers are worth (`cofi eval`). Models are not fetched: without them the scenario says so and is left out.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.databases import REPOSITORY
from bench.markdown import Section
from cofi_api.dev import LLM_MODEL, SPEECH_MODELS
from cofi_api.processes import free_port
from cofi_mediator.audio import examine
from cofi_resources.database.engine import Database
from cofi_resources.records import CallStatus

READY_WITHIN_S = 180.0
COMPLETE_WITHIN_S = 600.0
STOP_WITHIN_S = 15.0
LOOK_EVERY_S = 0.05
SHORTEST_S = 5.0
"""A shorter call is decided without being transcribed."""

SUFFIXES = (".wav", ".ogg", ".mp3", ".flac", ".m4a")

_TRANSCRIPT_ROWS = "SELECT COUNT(*) FROM transcript"
_STATUS = "SELECT status FROM `call`"


class Skipped(Exception):
    """The scenario cannot be run here; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class FirstResult:
    """Seconds: from the command to `ready`, and from the drop to the first row and to the last stage."""

    ready_s: float
    transcript_s: float
    complete_s: float


def first_result(folder: Path, models: Path, clip: Path | None, say: Callable[[str], None]) -> Section:
    """Drop one recording into a fresh embedded installation and watch its tables. Raises Skipped."""
    missing = [name for name in SPEECH_MODELS if not (models / name).exists()]
    if missing:
        raise Skipped(f"{models} holds no {', '.join(missing)}; `make demo` fetches them, or name a folder by --models")
    recording = clip or shortest_recording(REPOSITORY / "samples")
    if duration_s(recording) < SHORTEST_S:
        raise Skipped(f"{recording} is shorter than {SHORTEST_S:g} s and would not be transcribed")
    llm = "openai" if (models / LLM_MODEL).exists() else "rules"
    say(f"first result: {recording.name}, answers by {llm}")
    measured = measure(folder / "first-result", models, recording, llm)
    reader = "a language model of 1.5 billion parameters" if llm == "openai" else "the rules engine"
    return Section(
        "From drop to first result",
        f"`cofi dev --llm {llm}` with a fresh home and its models at hand; `{recording.name}` "
        f"({duration_s(recording):.0f} s of speech) put into `uploads/`. Whisper base hears it, {reader} reads it, all "
        "on these cores. The wait includes the time a dropped file must lie unchanged, and the sensor's tick.",
        ("from", "to", "seconds"),
        [
            ["the command", "`ready`", f"{measured.ready_s:.1f}"],
            ["drop", "first row of `transcript`", f"{measured.transcript_s:.1f}"],
            ["drop", "`call.status` is `Complete`", f"{measured.complete_s:.1f}"],
        ],
    )


def shortest_recording(folder: Path) -> Path:
    """The shortest recording that is long enough to be transcribed. Raises Skipped."""
    recordings = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES] if folder.is_dir() else []
    long_enough = [path for path in recordings if duration_s(path) >= SHORTEST_S]
    if not long_enough:
        raise Skipped(f"{folder} holds no recording of {SHORTEST_S:g} s or more; name one by --clip")
    return min(long_enough, key=duration_s)


def duration_s(path: Path) -> float:
    return examine(path).duration_s


def measure(home: Path, models: Path, recording: Path, llm: str) -> FirstResult:
    (home / "models").mkdir(parents=True)
    for model in models.iterdir():
        (home / "models" / model.name).symlink_to(model.absolute())
    asked = time.monotonic()
    with _installation(home, llm) as ready:
        ready()
        ready_s = time.monotonic() - asked
        uploads = home / "client_volume" / "uploads"
        partial = uploads / f"{recording.name}.part"
        partial.write_bytes(recording.read_bytes())
        database = Database(f"sqlite:///{home / 'cofi.db'}")
        dropped = time.monotonic()
        partial.rename(uploads / recording.name)
        try:
            transcript_s = _wait(database, _TRANSCRIPT_ROWS, lambda count: bool(count)) - dropped
            complete_s = _wait(database, _STATUS, lambda status: status == CallStatus.COMPLETE.value) - dropped
        finally:
            database.dispose()
    return FirstResult(ready_s, transcript_s, complete_s)


@contextmanager
def _installation(home: Path, llm: str) -> Iterator[Callable[[], None]]:
    """`cofi dev` for as long as the context is open; yields a wait until it says `ready`."""
    ports = [word for name in ("port", "api-port", "mediator-port") for word in (f"--{name}", str(free_port()))]
    output = home / "dev.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("cofi")), "dev", "--home", str(home), "--llm", llm, *ports],
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def ready() -> None:
        give_up_at = time.monotonic() + READY_WITHIN_S
        while "ready" not in output.read_text(encoding="utf-8").split("\n"):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"`cofi dev` was not ready:\n{output.read_text(encoding='utf-8')[-4000:]}")
            time.sleep(LOOK_EVERY_S)

    try:
        yield ready
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(database: Database, statement: str, holds: Callable[[object], bool]) -> float:
    """The moment at which the first value of a statement is as wanted."""
    give_up_at = time.monotonic() + COMPLETE_WITHIN_S
    while time.monotonic() < give_up_at:
        if holds(database.read(lambda connection: connection.exec_driver_sql(statement).scalar())):
            return time.monotonic()
        time.sleep(LOOK_EVERY_S)
    raise RuntimeError(f"not within {COMPLETE_WITHIN_S:g} s: {statement}")
