"""What is dropped is taken when it has settled, sorted out with reasons, and never lost."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from cofi_resources.errors import InvalidInput
from cofi_resources.volume import Refusal, Volume, fault_of_name

LATER_S = 60.0


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume whose clock runs an hour ahead of the files: everything has settled."""
    made = Volume(tmp_path / "volume", max_file_bytes=1000, clock=lambda: tmp_path.stat().st_mtime + 3600)
    made.create()
    return made


def drop(volume: Volume, name: str, content: bytes = b"RIFF") -> Path:
    path = volume.uploads / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def take_one(volume: Volume):
    (token,) = volume.take(volume.settled_drops(LATER_S)).tokens
    return volume.sort_out(token)


def test_a_folder_is_taken_whole_and_files_keep_their_names(volume: Volume) -> None:
    drop(volume, "monday/b call.wav", b"2")
    drop(volume, "monday/ordre été.MP3", b"1")
    landing = take_one(volume)
    assert [file.file for file in landing.files] == ["b call.wav", "ordre été.MP3"]
    assert list(volume.uploads.iterdir()) == []
    assert volume.path_of(landing.files[0].path).read_bytes() == b"2"


def test_single_files_come_together_as_one_landing(volume: Volume) -> None:
    drop(volume, "one.wav", b"1")
    drop(volume, "two.wav", b"2")
    assert [file.file for file in take_one(volume).files] == ["one.wav", "two.wav"]


def test_a_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.create()
    drop(volume, "growing.wav")
    drop(volume, "folder/growing.wav")
    assert volume.settled_drops(settle_s=LATER_S) == []
    assert {path.name for path in volume.settled_drops(settle_s=-LATER_S)} == {"growing.wav", "folder"}


def test_an_old_modification_time_does_not_make_a_fresh_copy_settled(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.create()
    os.utime(drop(volume, "copied_with_times.wav"), (1, 1))
    assert volume.settled_drops(settle_s=LATER_S) == []


def test_a_modification_time_yet_to_come_does_not_keep_a_file_from_settling(volume: Volume) -> None:
    next_year = volume.root.stat().st_mtime + 365 * 86400
    os.utime(drop(volume, "from_a_recorder.wav"), (next_year, next_year))
    os.utime(drop(volume, "folder/from_a_recorder.wav"), (next_year, next_year))
    assert {path.name for path in volume.settled_drops(settle_s=LATER_S)} == {"from_a_recorder.wav", "folder"}


def test_a_fresh_copy_with_a_modification_time_yet_to_come_is_left_alone(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.create()
    next_year = tmp_path.stat().st_mtime + 365 * 86400
    os.utime(drop(volume, "from_a_recorder.wav"), (next_year, next_year))
    assert volume.settled_drops(settle_s=LATER_S) == []


@pytest.mark.parametrize("name", ["call.wav.part", ".hidden.wav", "call.wav.crdownload", "folder/call.wav.filepart"])
def test_names_of_unfinished_copies_are_left_alone(volume: Volume, name: str) -> None:
    drop(volume, name)
    assert volume.settled_drops(LATER_S) == []


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("empty.wav", b"", "empty"),
        ("notes.txt", b"text", "not an audio file"),
        ("no_ending", b"text", "not an audio file"),
        ("huge.wav", b"x" * 1001, "larger than MAX_FILE_BYTES"),
        ("bell\a.wav", b"x", "control characters"),
        ("inner/call.wav", b"x", "folder inside"),
    ],
)
def test_what_cannot_be_a_recording_is_rejected_with_its_reason_and_the_rest_goes_on(
    volume: Volume, name: str, content: bytes, word: str
) -> None:
    drop(volume, "day/good.wav")
    drop(volume, f"day/{name}", content)
    landing = take_one(volume)
    assert [file.file for file in landing.files] == ["good.wav"]
    (refusal,) = landing.refused
    assert word in refusal.reason
    assert (volume.rejected / landing.token / refusal.name).exists()


def test_a_link_is_rejected_and_what_it_points_to_is_untouched(volume: Volume, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(b"secret")
    drop(volume, "day/good.wav")
    (volume.uploads / "day" / "link.wav").symlink_to(secret)
    landing = take_one(volume)
    assert [file.file for file in landing.files] == ["good.wav"]
    assert secret.read_bytes() == b"secret"


def test_the_same_content_twice_is_one_call(volume: Volume) -> None:
    drop(volume, "day/a.wav", b"same")
    drop(volume, "day/b.wav", b"same")
    drop(volume, "day/c.wav", b"diff")
    landing = take_one(volume)
    assert [file.file for file in landing.files] == ["a.wav", "c.wav"]
    assert [(refused.name, refused.reason) for refused in landing.refused] == [
        ("b.wav", "has the same content as a.wav")
    ]


def test_names_that_differ_in_case_only_are_two_calls(volume: Volume) -> None:
    drop(volume, "day/Call.wav", b"1")
    drop(volume, "day/call.WAV", b"2")
    assert len(take_one(volume).files) == 2


def test_sorting_out_again_after_a_crash_gives_the_same_answer(volume: Volume) -> None:
    drop(volume, "day/good.wav")
    drop(volume, "day/empty.wav", b"")
    landing = take_one(volume)
    assert volume.sort_out(landing.token) == landing


def test_a_name_of_255_bytes_is_rejected_for_its_reason_and_not_for_its_length(volume: Volume) -> None:
    name = "n" * 251 + ".doc"
    drop(volume, f"day/{name}")
    landing = take_one(volume)
    assert [refused.name for refused in landing.refused] == [name]


def test_dots_in_a_name_are_just_a_name() -> None:
    assert fault_of_name("..wav..mp3") is None
    assert fault_of_name("..") is not None


@pytest.mark.parametrize("relative", ["../outside.wav", "accepted/../../outside.wav", "/etc/passwd"])
def test_no_stored_path_leads_out_of_the_volume(volume: Volume, relative: str) -> None:
    with pytest.raises(InvalidInput, match="outside"):
        volume.path_of(relative)


def test_single_files_wait_for_those_that_are_still_coming_but_not_for_ever(tmp_path: Path) -> None:
    now = [0.0]
    volume = Volume(tmp_path, clock=lambda: now[0])
    volume.create()
    first, second = drop(volume, "one.wav", b"1"), drop(volume, "two.wav", b"2")
    began = max(first.stat().st_ctime, second.stat().st_ctime)
    os.utime(second, (began + 30, began + 30))
    now[0] = began + 31
    assert volume.settled_drops(settle_s=3) == []
    now[0] = began + 34
    assert volume.settled_drops(settle_s=3) == [first, second]
    os.utime(second, (began + 100, began + 100))
    now[0] = began + 101
    assert volume.settled_drops(settle_s=3) == [first]


def test_a_gathering_that_was_broken_off_is_finished(volume: Volume) -> None:
    gathering = volume.accepted / ".20260115T000000-half"
    gathering.mkdir()
    (gathering / "one.wav").write_bytes(b"1")
    assert volume.accepted_tokens() == []
    volume.finish_gatherings()
    assert volume.accepted_tokens() == ["20260115T000000-half"]


class AheadPath(type(Path())):
    """A path on a file server whose clock is an hour ahead."""

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        super().touch(mode, exist_ok)
        ahead = self.stat().st_mtime + 3600
        os.utime(self, (ahead, ahead))


def test_time_is_the_volumes_own(tmp_path: Path) -> None:
    volume = Volume(AheadPath(tmp_path))
    volume.create()
    for name in ("one.wav", "monday/two.wav"):
        AheadPath(drop(volume, name)).touch()
    assert [path.name for path in volume.settled_drops(settle_s=0.0)] == ["monday", "one.wav"]
    assert volume.settled_drops(settle_s=LATER_S) == []


@pytest.mark.parametrize("name", ["call.wav.part", "monday/call.wav.TMP"])
def test_an_unfinished_copy_is_refused_when_nothing_has_changed_for_long(volume: Volume, name: str) -> None:
    drop(volume, name)
    assert volume.settled_drops(LATER_S, abandoned_s=7200) == []
    (token,) = volume.take(volume.settled_drops(LATER_S, abandoned_s=1800)).tokens
    landing = volume.sort_out(token)
    assert landing.files == ()
    (refusal,) = landing.refused
    assert "is an unfinished copy" in refusal.reason


def test_the_whole_files_beside_an_abandoned_copy_are_taken(volume: Volume) -> None:
    drop(volume, "monday/one.wav", b"1")
    drop(volume, "monday/two.wav.part", b"2")
    assert volume.settled_drops(LATER_S) == []
    (token,) = volume.take(volume.settled_drops(LATER_S, abandoned_s=1800)).tokens
    assert [file.file for file in volume.sort_out(token).files] == ["one.wav"]


def test_a_folder_that_is_unfinished_by_its_own_name_stays_and_is_named_once(volume: Volume) -> None:
    drop(volume, "monday.part/one.wav")
    abandoned = volume.settled_drops(LATER_S, abandoned_s=1800)
    taken = volume.take(abandoned)
    assert taken.tokens == ()
    assert [refusal.name for refusal in taken.stuck] == ["monday.part"]
    assert volume.take(abandoned).stuck == ()
    (volume.uploads / "monday.part").rename(volume.uploads / "monday")
    assert [file.file for file in take_one(volume).files] == ["one.wav"]


def test_hidden_entries_are_left_alone_however_old(volume: Volume) -> None:
    drop(volume, ".hidden.wav")
    drop(volume, ".Trash/one.wav.part")
    assert volume.settled_drops(LATER_S, abandoned_s=1800) == []


def test_an_unfinished_single_file_that_grows_holds_back_the_single_files_but_no_folder(tmp_path: Path) -> None:
    now = [0.0]
    volume = Volume(tmp_path, clock=lambda: now[0])
    volume.create()
    whole, growing = drop(volume, "one.wav"), drop(volume, "two.wav.part")
    drop(volume, "monday/three.wav")
    began = max(whole.stat().st_ctime, growing.stat().st_ctime)
    os.utime(growing, (began + 10, began + 10))
    now[0] = began + 11
    assert [path.name for path in volume.settled_drops(settle_s=3)] == ["monday"]
    now[0] = began + 14
    assert [path.name for path in volume.settled_drops(settle_s=3)] == ["monday", "one.wav"]


def test_a_landing_of_which_every_file_has_gone_is_none(volume: Volume) -> None:
    drop(volume, "one.wav").unlink()
    assert volume.take([volume.uploads / "one.wav"]).tokens == ()
    assert list(volume.accepted.iterdir()) == []


def test_hidden_folders_of_others_in_accepted_are_left_alone(volume: Volume) -> None:
    (volume.accepted / ".snapshot").mkdir()
    volume.finish_gatherings()
    assert [entry.name for entry in volume.accepted.iterdir()] == [".snapshot"]


def test_a_folder_that_may_not_be_looked_into_stays_and_the_others_go_on() -> None:
    # Not tmp_path: other users may not look into that.
    root = Path(tempfile.mkdtemp(prefix="cofi-"))
    effective_user = os.geteuid()
    locked = root / "volume" / "uploads" / "locked"
    try:
        root.chmod(0o777)
        volume = Volume(root / "volume", clock=lambda: root.stat().st_mtime + 3600)
        volume.create()
        for folder in (volume.root, volume.uploads, volume.accepted, volume.rejected):
            folder.chmod(0o777)
        drop(volume, "locked/one.wav")
        drop(volume, "two.wav")
        locked.chmod(0o444)
        if effective_user == 0:
            # Root would be allowed everything.
            os.seteuid(65534)
        taken = volume.take(volume.settled_drops(LATER_S))
        files = [file.file for token in taken.tokens for file in volume.sort_out(token).files]
    finally:
        os.seteuid(effective_user)
        locked.chmod(0o755)
        shutil.rmtree(root)
    assert files == ["two.wav"]
    assert [refusal.name for refusal in taken.stuck] == ["locked"]


class Watched(Volume):
    """A volume that is looked at by another tick whenever a file has been moved."""

    seen: tuple[str, ...] = ()

    def _move(self, drop: Path, target: Path, stuck: list[Refusal]) -> bool:
        moved = super()._move(drop, target, stuck)
        self.seen += tuple(self.accepted_tokens())
        return moved


def test_a_landing_is_not_seen_before_all_its_single_files_are_there(volume: Volume) -> None:
    drop(volume, "one.wav")
    drop(volume, "two.wav")
    watched = Watched(volume.root)
    (token,) = watched.take(volume.settled_drops(LATER_S)).tokens
    assert watched.seen == ()
    assert watched.accepted_tokens() == [token]
