"""`cofi dev` as a person starts it: real processes, real speech, from a drop to audited calls, and away again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from services import free_port

from cofi_mediator.models import ensure_model
from cofi_resources.database.engine import Database

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parent.parent
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
CLIPS = ("sense_and_sensibility_01_austen_64kb-0870.wav", "sense_and_sensibility_01_austen_64kb-0920.wav")
MODELS = Path(os.environ.get("COFI_TEST_MODELS") or REPOSITORY / ".venv" / "models")
PIPELINE = ("distribution", "lid", "transcripts", "llm1_conversations", "audit_answers")
READY_WITHIN_S = 180.0
AUDITED_WITHIN_S = 240.0
ENDS_WITHIN_S = 10.0
LOOK_EVERY_S = 0.5

T = TypeVar("T")


def words(options: dict[str, object]) -> list[str]:
    return [str(part) for pair in options.items() for part in pair]


class Stack:
    """One `cofi dev` on ports of its own. Everything it starts is known by COFI_HOME in its environment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.page = f"http://127.0.0.1:{free_port()}"
        self._output = home / "cofi-dev.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> Database:
        return Database(f"sqlite:///{self.home / 'cofi.db'}")

    def start(self) -> float:
        """Start and wait for `ready`; returns the seconds it took."""
        began = time.monotonic()
        self._output.write_bytes(b"")
        with self._output.open("ab") as output:
            options = {"--home": self.home, "--port": self.page.rpartition(":")[2], "--llm": "rules"}
            options |= {"--api-port": free_port(), "--mediator-port": free_port()}
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from cofi_api.cli import app; app()", "dev", *words(options)],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COFI_HOME": str(self.home), "UPLOAD_SETTLE_S": "1"},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.wait_for(lambda: "ready\n" in self.output(), READY_WITHIN_S, "ready")
        return time.monotonic() - began

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, look: Callable[[], T], within_s: float, what: str) -> T:
        """Look again and again until there is something to see. Fails with the stack's own words."""
        assert self._process is not None
        deadline = time.monotonic() + within_s
        while not (seen := look()):
            assert self._process.poll() is None, f"cofi dev ended while waiting for {what}:\n{self.output()}"
            assert time.monotonic() < deadline, f"no {what} within {within_s:g} s:\n{self.output()}"
            time.sleep(LOOK_EVERY_S)
        return seen

    def rows(self, statement: str) -> list[tuple]:
        database = self.database
        try:
            return database.read(lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)])
        finally:
            database.dispose()

    def ask(self, query: str) -> dict:
        answer = httpx.post(f"{self.page}/graphql", json={"query": query}, timeout=30.0, trust_env=False)
        answer.raise_for_status()
        return answer.json()["data"]

    def terminate(self) -> tuple[int, float]:
        """SIGTERM to the command alone; returns its exit status and the seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout=3 * ENDS_WITHIN_S)
        return status, time.monotonic() - began

    def processes(self) -> dict[int, str]:
        """What runs of this stack: process id and command, the command itself included."""
        marker = f"COFI_HOME={self.home}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if marker in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                # It ended while we looked, or belongs to somebody else.
                continue
        return found

    def clean_up(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.terminate()
        for process_id in self.processes():
            os.kill(process_id, signal.SIGKILL)


def clips() -> list[Path]:
    if not LIBRIVOX.is_dir():
        reason = "pocketsphinx-testdata is not installed"
        if os.environ.get("COFI_REQUIRE_SERVICES") == "1":
            pytest.fail(f"COFI_REQUIRE_SERVICES=1, and {reason}")
        pytest.skip(reason)
    return [LIBRIVOX / name for name in CLIPS]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    for name in ("whisper-base", "speaker-embedding"):
        ensure_model(name, MODELS)
        (home / "models" / name).symlink_to((MODELS / name).absolute(), target_is_directory=True)
    made = Stack(home)
    try:
        yield made
    finally:
        made.clean_up()


def partition_statuses(stack: Stack, asset: str) -> tuple[list[str], list[str]]:
    """Materialized and failed partitions of an asset, as Dagster's page shows them."""
    found = stack.ask(
        '{ assetNodeOrError(assetKey: {path: ["' + asset + '"]}) { ... on AssetNode { assetPartitionStatuses '
        "{ ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } } } } }"
    )["assetNodeOrError"]["assetPartitionStatuses"]
    return sorted(found["materializedPartitions"]), sorted(found["failedPartitions"])


def test_a_drop_is_audited_and_everything_ends_and_starts_again_with_its_data(stack: Stack) -> None:
    recordings = clips()
    first_start_s = stack.start()
    drop = stack.home / "client_volume" / "uploads" / "monday"
    being_copied = drop.with_name(".monday")
    being_copied.mkdir()
    for clip in recordings:
        shutil.copy(clip, being_copied)
    (being_copied / "not a sound.wav").write_text("This is a letter and no recording.\n" * 50)
    being_copied.rename(drop)

    stack.wait_for(
        lambda: stack.rows("SELECT id FROM batchStatus WHERE status = 'Completed'"), AUDITED_WITHIN_S, "audited batch"
    )

    assert stack.rows("SELECT totalFiles, processedFiles, failedFiles FROM batchStatus") == [(3, 3, 1)]
    assert stack.rows("SELECT audioName, status, lang FROM `call` WHERE status = 'Complete' ORDER BY id") == [
        (name, "Complete", "en") for name in CLIPS
    ]
    said = stack.rows("SELECT SUM(LENGTH(text)) FROM transcript GROUP BY callId")
    assert len(said) == len(CLIPS)
    assert all(characters > 20 for (characters,) in said)
    assert stack.rows("SELECT COUNT(DISTINCT callId), COUNT(*) / COUNT(DISTINCT callId) >= 20 FROM auditAnswer") == [
        (2, 1)
    ]
    ((reason, url),) = stack.rows("SELECT error_message, request_url FROM processing_logs WHERE status = 'failed'")
    assert "not a sound.wav" in reason
    assert "/v1/files/" in url

    keys = [key for (key,) in stack.rows("SELECT partitionKey FROM registeredCall ORDER BY ordinal")]
    bad = [key for key in keys if "not-a-sound" in key]
    good = [key for key in keys if key not in bad]
    assert len(bad) == 1
    ended = "{ runsOrError { ... on Runs { results { status } } } }"
    stack.wait_for(
        lambda: [run["status"] for run in stack.ask(ended)["runsOrError"]["results"]] == ["FAILURE"], 60.0, "end of run"
    )
    for asset in PIPELINE:
        assert partition_statuses(stack, asset) == (good, bad), asset

    assert len(stack.processes()) >= 5
    status, ended_within_s = stack.terminate()
    assert (status, stack.processes()) == (0, {}), stack.output()
    assert ended_within_s < ENDS_WITHIN_S

    assert stack.start() < max(first_start_s, READY_WITHIN_S / 3)
    assert stack.rows("SELECT status, COUNT(*) FROM batchStatus") == [("Completed", 1)]
    assert partition_statuses(stack, "audit_answers") == (good, bad)
    stack.terminate()
    assert stack.processes() == {}
