"""From a file in uploads/ to requested runs: in order, once, and nothing lost whenever the daemon dies."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PRIORITY_TAG,
    RUN_KEY_TAG,
)

from cofi_assets.audit import BATCH_TAG
from cofi_resources.database import forms
from cofi_resources.database.engine import Database
from cofi_resources.errors import ConfigError, InvalidInput
from cofi_resources.forms import read_form
from cofi_resources.settings import Settings
from cofi_resources.volume import Landing, Taken, Volume
from cofi_sensors.uploads import TICK, build_uploads_sensor


@dg.job
def audit() -> None: ...


@dataclass
class Desk:
    """A volume, a database, a Dagster instance and the sensor between them. Runs take two files."""

    volume: Volume
    database: Database
    instance: dg.DagsterInstance
    sensor: dg.SensorDefinition

    def drop(self, name: str, content: bytes | None = None) -> Path:
        path = self.volume.uploads / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if content is None else content)
        return path

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate the sensor as the daemon does; returns the runs it asks for."""
        context = dg.build_sensor_context(
            self.instance, resources={"database": self.database, "volume": self.volume}, sensor_name="uploads"
        )
        answer = self.sensor(context)
        if isinstance(answer, dg.SkipReason):
            return []
        assert isinstance(answer, dg.SensorResult)
        return list(answer.run_requests or [])

    def start(self, requests: list[dg.RunRequest], status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> None:
        """Create the requested runs, as the daemon does; submitted, they start."""
        for request in requests:
            assert request.run_key is not None
            tags = {**request.tags, RUN_KEY_TAG: request.run_key}
            self.instance.create_run_for_job(audit, tags=tags, status=status)

    def partition_keys(self, partitions: str = "calls") -> list[str]:
        return list(self.instance.get_dynamic_partitions(partitions))

    def rows(self, statement: str) -> list[tuple]:
        return self.database.read(lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)])


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    settings = Settings.load(cofi_home=tmp_path)
    volume = Volume(settings.resolved_client_volume, max_file_bytes=1000)
    volume.create()
    database.transact(lambda connection: forms.seed(connection, read_form()))
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield Desk(volume, database, instance, sensor_with(tmp_path))


def sensor_with(home: Path, **changes: object) -> dg.SensorDefinition:
    """The sensor of an installation in which files settle at once, with further settings."""
    settings = {"files_per_run": 2, "upload_settle_s": 0.0, **changes}
    return build_uploads_sensor("audit", Settings.load(cofi_home=home, **settings))


def ranges(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    return [
        (request.tags[ASSET_PARTITION_RANGE_START_TAG], request.tags[ASSET_PARTITION_RANGE_END_TAG])
        for request in requests
    ]


def test_a_drop_becomes_a_batch_with_its_keys_in_order_and_a_run_for_each_few_files(desk: Desk) -> None:
    for name in ("c.wav", "a.wav", "e.wav", "b.wav", "d.wav"):
        desk.drop(f"monday/{name}")
    requests = desk.tick()
    keys = desk.partition_keys()
    assert [key.partition("|")[2] for key in keys] == [
        f"00000{number}-{name}.wav" for number, name in enumerate("abcde", start=1)
    ]
    assert ranges(requests) == [(keys[0], keys[1]), (keys[2], keys[3]), (keys[4], keys[4])]
    assert len({request.run_key for request in requests}) == 3
    assert desk.rows("SELECT totalFiles, status, kind FROM batchStatus") == [(5, "Pending", "upload")]
    (batch_id,) = desk.rows("SELECT id FROM batchStatus")[0]
    assert {request.tags[BATCH_TAG] for request in requests} == {str(batch_id)}
    assert all(int(request.tags[PRIORITY_TAG]) > 0 for request in requests)
    assert desk.partition_keys("batches") == [keys[0].partition("|")[0]]


def test_folders_are_batches_of_their_own_and_single_files_are_one_together(desk: Desk) -> None:
    for name in ("north/a.wav", "north/b.wav", "south/a.wav", "x.wav", "y.wav"):
        desk.drop(name)
    desk.tick()
    assert desk.rows("SELECT totalFiles FROM batchStatus ORDER BY totalFiles") == [(1,), (2,), (2,)]
    keys = desk.partition_keys()
    batches = [key.partition("|")[0] for key in keys]
    assert batches == sorted(batches, key=desk.partition_keys("batches").index), "a batch's keys are one range"


def test_a_file_that_is_still_being_copied_waits(desk: Desk, tmp_path: Path) -> None:
    desk.sensor = sensor_with(tmp_path, upload_settle_s=3600.0)
    desk.drop("growing.wav")
    assert desk.tick() == []
    assert (desk.volume.uploads / "growing.wav").exists()
    assert desk.rows("SELECT COUNT(*) FROM batchStatus") == [(0,)]


def test_ticks_after_the_runs_have_started_do_nothing(desk: Desk) -> None:
    desk.drop("monday/a.wav")
    desk.start(desk.tick())
    keys = desk.partition_keys()
    assert desk.tick() == []
    assert desk.tick() == []
    assert desk.partition_keys() == keys
    assert desk.rows("SELECT COUNT(*) FROM batchStatus WHERE announcedAt IS NOT NULL") == [(1,)]


def test_a_crash_between_taking_and_registering_loses_nothing(desk: Desk) -> None:
    desk.drop("monday/a.wav")
    desk.drop("b.wav")
    taken = desk.volume.take(desk.volume.settled_drops(0.0))
    assert len(taken.tokens) == 2
    assert len(desk.tick()) == 2
    assert desk.rows("SELECT file FROM registeredCall ORDER BY file") == [("a.wav",), ("b.wav",)]


def test_a_crash_in_the_middle_of_sorting_out_loses_nothing_and_doubles_nothing(desk: Desk) -> None:
    desk.drop("monday/a.wav")
    desk.drop("monday/empty.wav", b"")
    (token,) = desk.volume.take(desk.volume.settled_drops(0.0)).tokens
    desk.volume.sort_out(token)
    desk.tick()
    desk.tick()
    assert desk.rows("SELECT file FROM registeredCall") == [("a.wav",)]
    assert desk.rows("SELECT COUNT(*) FROM batchExecutionLog WHERE eventType = 'error'") == [(1,)]


def test_a_crash_between_requesting_and_starting_asks_again_with_the_same_run_keys(desk: Desk) -> None:
    for name in "abc":
        desk.drop(f"monday/{name}.wav")
    requested = desk.tick()
    keys = desk.partition_keys()
    again = desk.tick()
    assert [(request.run_key, request.tags) for request in again] == [
        (request.run_key, request.tags) for request in requested
    ]
    assert desk.partition_keys() == keys


def test_a_crash_after_the_first_of_two_starts_asks_for_the_second_even_when_the_first_was_retried(desk: Desk) -> None:
    for name in "abc":
        desk.drop(f"monday/{name}.wav")
    first, second = desk.tick()
    desk.start([first, first])
    assert second.run_key in {request.run_key for request in desk.tick()}
    desk.start([second])
    assert desk.tick() == []


def test_a_drop_of_which_nothing_can_be_taken_is_logged_and_leaves_no_batch_and_no_folder(desk: Desk) -> None:
    desk.drop("monday/notes.txt")
    desk.drop("monday/empty.wav", b"")
    assert desk.tick() == []
    assert desk.rows("SELECT COUNT(*) FROM batchStatus") == [(0,)]
    assert desk.partition_keys() == desk.partition_keys("batches") == []
    assert list(desk.volume.accepted.iterdir()) == []
    assert list(desk.volume.uploads.iterdir()) == []
    assert desk.rows(
        "SELECT eventType, fileName, batchId, processedFiles FROM batchExecutionLog ORDER BY fileName, id"
    ) == [
        ("info", None, 0, 0),
        ("error", "empty.wav", 0, None),
        ("error", "notes.txt", 0, None),
    ]
    desk.tick()
    assert desk.rows("SELECT COUNT(*) FROM batchExecutionLog") == [(3,)]


LONG = "n" * 251 + ".wav"
TAKEN = {
    "with spaces in it.wav": b"1",
    "ordre été 注文.wav": b"2",
    "..dots..wav": b"3",
    LONG: b"4",
    "Call.wav": b"5",
    "call.WAV": b"6",
    "text that is no sound.wav": b"hello",
    "half.mp3": b"\xff\xfb\x90",
}
REFUSED = {
    "empty.wav": (b"", "is empty"),
    "zweite.wav": (b"5", "has the same content as Call.wav"),
    "zz/inner.wav": (b"7", "is a folder inside"),
    "huge.wav": (b"x" * 1001, "larger than MAX_FILE_BYTES"),
    "line\nbreak.wav": (b"8", "control characters"),
    "report.pdf": (b"9", "not an audio file"),
}


def test_every_bad_file_has_its_own_outcome_and_the_others_go_on(desk: Desk) -> None:
    for name, content in TAKEN.items():
        desk.drop(f"monday/{name}", content)
    for name, (content, _) in REFUSED.items():
        desk.drop(f"monday/{name}", content)
    (desk.volume.uploads / "monday" / "link.wav").symlink_to("/etc/passwd")
    (desk.volume.uploads / "monday" / os.fsdecode(b"latin-\xe9.wav")).write_bytes(b"10")
    requests = desk.tick()
    assert len(requests) == len(TAKEN) / 2
    registered = {name for (name,) in desk.rows("SELECT file FROM registeredCall")}
    assert registered == set(TAKEN)
    logged = dict(desk.rows("SELECT fileName, errorMessage FROM batchExecutionLog WHERE eventType = 'error'"))
    assert len(logged) == len(REFUSED) + 2
    for name, (_, reason) in REFUSED.items():
        message = logged.get(name.partition("/")[0], "")
        assert reason in message, name
        assert "rejected/" in message
    assert "not a regular file" in logged["link.wav"]
    assert "not UTF-8" in logged["latin-\\udce9.wav"]
    assert all(len(key) <= 64 and key.isascii() for key in desk.partition_keys())
    assert len(set(desk.partition_keys())) == len(TAKEN)


def test_a_file_that_may_not_be_read_is_refused_by_name() -> None:
    # Not tmp_path: other users may not look into that.
    root = Path(tempfile.mkdtemp(prefix="cofi-"))
    real_user = os.getuid()
    try:
        root.chmod(0o755)
        volume = Volume(root / "volume")
        volume.create()
        for name in ("open.wav", "secret.wav"):
            path = volume.uploads / "monday" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(name.encode())
        (volume.uploads / "monday" / "secret.wav").chmod(0o000)
        (token,) = volume.take(volume.settled_drops(0.0)).tokens
        if real_user == 0:
            # Permission is checked for the real user; root would be allowed everything.
            os.setreuid(65534, 0)
        landing = volume.sort_out(token)
    finally:
        os.setreuid(real_user, -1)
        shutil.rmtree(root)
    assert [file.file for file in landing.files] == ["open.wav"]
    assert [(refused.name, refused.reason) for refused in landing.refused] == [
        ("secret.wav", "cannot be read: permission denied")
    ]


def test_a_drop_that_has_gone_meanwhile_stops_nothing(desk: Desk) -> None:
    gone, stays = desk.drop("gone.wav"), desk.drop("stays.wav")
    found = desk.volume.settled_drops(0.0)
    gone.unlink()
    taken = desk.volume.take(found)
    assert taken.stuck == ()
    desk.tick()
    assert desk.rows("SELECT file FROM registeredCall") == [("stays.wav",)]
    assert not stays.exists()


class Crowded(Volume):
    """A volume on which folders cannot be moved: something lies where they would go."""

    def _new_token(self) -> str:
        token = "20260115T100000-in-the-way"
        (self.accepted / token / "monday").mkdir(parents=True, exist_ok=True)
        return token


def test_a_folder_that_cannot_be_moved_is_named_once_and_the_others_go_on(desk: Desk) -> None:
    desk.drop("theirs/a.wav")
    crowded = Crowded(desk.volume.root)
    theirs = crowded.settled_drops(0.0)
    assert [refusal.name for refusal in crowded.take(theirs).stuck] == ["theirs"]
    assert crowded.take(theirs) == Taken((), ())
    assert (desk.volume.uploads / "theirs" / "a.wav").exists()
    shutil.rmtree(desk.volume.accepted / "20260115T100000-in-the-way")
    assert len(desk.tick()) == 1


def test_a_folder_that_cannot_be_moved_is_in_the_log(desk: Desk) -> None:
    desk.drop("theirs/a.wav")
    desk.volume = Crowded(desk.volume.root)
    desk.tick()
    ((message,),) = desk.rows(
        "SELECT errorMessage FROM batchExecutionLog WHERE eventType = 'error' AND fileName = 'theirs'"
    )
    assert "theirs cannot be moved out of uploads/" in message


def test_a_run_that_was_made_and_never_submitted_is_asked_for_again(desk: Desk) -> None:
    desk.drop("monday/a.wav")
    requests = desk.tick()
    desk.start(requests, status=dg.DagsterRunStatus.NOT_STARTED)
    assert [request.run_key for request in desk.tick()] == [request.run_key for request in requests]


def unreadable_landing(desk: Desk) -> None:
    """A landing, the first in order, that cannot be sorted out."""
    bad = desk.volume.accepted / "00000000T000000-bad"
    bad.mkdir()
    # Its reason cannot be written down: a file stands where the folder for it should be.
    (bad / "notes.txt").write_bytes(b"2")
    (desk.volume.rejected / bad.name).write_bytes(b"")


def test_a_landing_that_cannot_be_looked_through_holds_up_no_other_and_is_logged_once(desk: Desk) -> None:
    unreadable_landing(desk)
    desk.drop("monday/b.wav")
    desk.tick()
    desk.tick()
    assert desk.rows("SELECT totalFiles FROM batchStatus") == [(1,)]
    assert desk.rows("SELECT COUNT(*) FROM batchExecutionLog WHERE fileName = '00000000T000000-bad'") == [(1,)]


def test_a_tick_beside_one_that_is_still_taking_files_takes_none(desk: Desk) -> None:
    path = desk.drop("one.wav")
    with TICK:
        assert desk.tick() == []
        assert path.exists()
    assert len(desk.tick()) == 1


def test_a_tick_that_failed_does_not_hold_up_the_next(desk: Desk, tmp_path: Path) -> None:
    desk.drop("one.wav")
    able, desk.sensor = desk.sensor, sensor_with(tmp_path, audit_process_id=99)
    with pytest.raises(ConfigError):
        desk.tick()
    desk.sensor = able
    assert len(desk.tick()) == 1


def test_a_process_that_does_not_exist_stops_the_tick_with_the_setting_and_the_remedy(
    desk: Desk, tmp_path: Path
) -> None:
    desk.drop("one.wav")
    desk.sensor = sensor_with(tmp_path, audit_process_id=99)
    with pytest.raises(ConfigError, match=r"no process 99 .*`cofi db seed`.*AUDIT_PROCESS_ID"):
        desk.tick()
    assert desk.rows("SELECT COUNT(*) FROM batchStatus") == [(0,)]


def test_a_tick_past_its_time_leaves_the_other_drops_to_the_next(desk: Desk, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        desk.drop(f"{name}/a.wav")
    desk.sensor = sensor_with(tmp_path, upload_tick_budget_s=1e-9)
    for registered in (1, 2, 3, 3):
        desk.tick()
        assert desk.rows("SELECT COUNT(*) FROM batchStatus") == [(registered,)]


def test_a_drop_that_fails_at_every_tick_does_not_use_up_the_time_of_the_others(desk: Desk, tmp_path: Path) -> None:
    unreadable_landing(desk)
    desk.drop("monday/a.wav")
    desk.sensor = sensor_with(tmp_path, upload_tick_budget_s=1e-9)
    desk.tick()
    assert desk.rows("SELECT COUNT(*) FROM batchStatus") == [(1,)]


def test_a_batch_has_the_date_of_the_set_time_zone(desk: Desk, tmp_path: Path) -> None:
    # 26 hours apart: never the same date.
    for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
        desk.drop(f"{zone.partition('/')[0]}/a.wav")
        desk.sensor = sensor_with(tmp_path, cofi_time_zone=zone)
        desk.tick()
    (west,), (east,) = desk.rows("SELECT batchDate FROM batchStatus ORDER BY id")
    assert str(west) < str(east)


def test_an_abandoned_copy_is_refused_and_the_files_beside_it_are_taken(desk: Desk, tmp_path: Path) -> None:
    desk.drop("monday/a.wav")
    desk.drop("monday/b.wav.part")
    assert desk.tick() == []
    desk.sensor = sensor_with(tmp_path, upload_abandoned_s=0.0)
    assert len(desk.tick()) == 1
    assert desk.rows("SELECT fileName FROM batchExecutionLog WHERE eventType = 'error'") == [("b.wav.part",)]


class Strict(Volume):
    """A volume that refuses whatever landing has a file of that name."""

    def sort_out(self, token: str) -> Landing:
        landing = super().sort_out(token)
        if any(file.file == "forbidden.wav" for file in landing.files):
            raise InvalidInput("file: forbidden.wav is not for us")
        return landing


def test_a_drop_that_breaks_a_rule_holds_up_no_other_and_is_logged_once(desk: Desk) -> None:
    desk.volume = Strict(desk.volume.root)
    desk.drop("monday/forbidden.wav")
    desk.tick()
    desk.drop("tuesday/a.wav")
    desk.tick()
    assert desk.rows("SELECT file FROM registeredCall") == [("a.wav",)]
    ((message,),) = desk.rows("SELECT errorMessage FROM batchExecutionLog WHERE eventType = 'error'")
    assert "cannot be taken: file: forbidden.wav is not for us; it lies in accepted/" in message
