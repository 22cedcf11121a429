"""CLIENT_VOLUME: where recordings arrive and are kept, with safe names and atomic landing.

What belongs here: the layout of the volume, the test whether a file has settled, moves between its folders, and
refusals with their reasons. What does not: rows (`database/registry.py`), deciding when to look (`cofi_sensors`).

    uploads/        what people drop: folders and single files; taken when settled
    accepted/TOKEN/ one folder a batch; a recording keeps the name it was dropped with
    rejected/TOKEN/ what was not taken, each file beside a `<name>.reason.json`

Decision: a drop is taken by renaming it into `accepted/`, before any row is written. A rename is atomic; whatever lies
in `accepted/` without a batch is registered at the next look, so a crash between the two loses nothing.
"""

import hashlib
import json
import math
import os
import stat
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cofi_resources.errors import InvalidInput
from cofi_resources.records import NewCall

AUDIO_SUFFIXES = frozenset(
    {".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma", ".amr", ".al", ".ul", ".gsm"}
)
UNFINISHED_SUFFIXES = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".download")
"""Names that copying programs use until a file is whole."""

MAX_NAME_CHARS = 255
LONGEST_GATHERING_S = 60.0
"""Single files wait for others that are still coming, but no longer than this."""

NOTE_SUFFIX = ".reason.json"
STUCK = "not-moved"
"""Folder in rejected/ of the notes on drops that could not be moved, such as another user's folder."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A dropped entry that is not taken, and why, in words for the person who dropped it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Landing:
    """What was taken of one drop: `token` names its folders; `files` are in order of name."""

    token: str
    files: tuple[NewCall, ...]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What one look has moved: a token a landing; `stuck` is what could not be moved and was not said before."""

    tokens: tuple[str, ...]
    stuck: tuple[Refusal, ...]


class Volume:
    """The folder tree under CLIENT_VOLUME. Creates its folders on first use."""

    def __init__(self, root: Path, *, max_file_bytes: int = 1 << 30, clock: Callable[[], float] | None = None) -> None:
        self.root = root
        self.uploads = root / "uploads"
        self.accepted = root / "accepted"
        self.rejected = root / "rejected"
        self._max_file_bytes = max_file_bytes
        self._clock = clock or self._clock_of_the_volume

    def create(self) -> None:
        for folder in (self.uploads, self.accepted, self.rejected):
            folder.mkdir(parents=True, exist_ok=True)

    def path_of(self, relative: str) -> Path:
        """The absolute path of a stored recording. InvalidInput if it would lie outside the volume."""
        path = Path(os.path.normpath(self.root / relative))
        if not path.is_relative_to(self.root):
            raise InvalidInput(f"{relative!r} lies outside the client volume")
        return path

    def settled_drops(self, settle_s: float, abandoned_s: float = math.inf) -> list[Path]:
        """Entries of uploads/ in which nothing has changed for `settle_s` seconds, in order of name.

        Unfinished copies, and folders with one in them, count as settled after `abandoned_s` seconds without a change.
        Hidden entries are left alone. Change time counts as well as modification time: copying programs set the
        latter back to the original's.
        """
        now = self._clock()
        entries = [entry for entry in sorted(self.uploads.iterdir()) if not entry.name.startswith(".")]
        unchanged_s = {entry: now - _last_change(entry, now) for entry in entries}
        patience_s = {entry: max(settle_s, abandoned_s) if _holds_unfinished(entry) else settle_s for entry in entries}
        settled = [entry for entry in entries if unchanged_s[entry] >= patience_s[entry]]
        # Single files that are still coming belong with those that have come; but nobody waits for ever.
        more_coming = any(unchanged_s[entry] < settle_s and not _is_folder(entry) for entry in entries)
        whole = [entry for entry in settled if not _is_folder(entry) and not is_unfinished(entry.name)]
        longest_s = max(LONGEST_GATHERING_S, 10 * settle_s)
        if more_coming and max((unchanged_s[entry] for entry in whole), default=0.0) < longest_s:
            return [entry for entry in settled if _is_folder(entry)]
        return settled

    def take(self, drops: Sequence[Path]) -> Taken:
        """Move drops into accepted/: a folder by one rename, all single files together.

        One that has gone meanwhile is none any more; one that cannot be moved stays where it is, and the others go on.
        So does a folder that is unfinished by its own name: which of its files are whole, nobody can tell.
        """
        folders = [drop for drop in drops if _is_folder(drop)]
        singles = [drop for drop in drops if drop not in folders]
        tokens: list[str] = []
        stuck: list[Refusal] = []
        for folder in folders:
            if fault := fault_of_unfinished(folder.name):
                self._note_stuck(folder.name, fault, stuck)
                continue
            token = self._new_token()
            if self._move(folder, self.accepted / token, stuck):
                tokens.append(token)
        if singles and (token := self._take_together(singles, stuck)):
            tokens.append(token)
        return Taken(tuple(tokens), tuple(stuck))

    def _take_together(self, singles: Sequence[Path], stuck: list[Refusal]) -> str | None:
        """Gather single files under a hidden name, and show them when all are there: a landing is never half-filled.

        None if not one of them could be moved.
        """
        token = self._new_token()
        gathering = self.accepted / f".{token}"
        gathering.mkdir()
        moved = [drop for drop in singles if self._move(drop, gathering / drop.name, stuck)]
        if not moved:
            gathering.rmdir()
            return None
        gathering.rename(self.accepted / token)
        return token

    def finish_gatherings(self) -> None:
        """Show what a look that was broken off had gathered. Not to be called beside a look that is going on."""
        # Other hidden entries, such as a file server's snapshots, are none of ours.
        for gathering in self.accepted.glob(".????????T??????-*"):
            gathering.rename(self.accepted / gathering.name.removeprefix("."))

    def _move(self, drop: Path, target: Path, stuck: list[Refusal]) -> bool:
        """Rename a drop; whether it was moved. A drop that cannot be is added to `stuck` at the first look only."""
        try:
            drop.rename(target)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._note_stuck(drop.name, f"cannot be moved out of uploads/: {error.strerror}", stuck)
            return False
        return True

    def _note_stuck(self, name: str, reason: str, stuck: list[Refusal]) -> None:
        refusal = Refusal(shown_name(name), reason)
        if self._note(STUCK, name, refusal):
            stuck.append(refusal)

    def accepted_tokens(self) -> list[str]:
        return sorted(
            entry.name for entry in self.accepted.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )

    def note_fault(self, token: str, error: Exception) -> Refusal | None:
        """Note that a landing cannot be looked through; None if that was noted at an earlier look."""
        refusal = Refusal(token, f"cannot be taken: {error}")
        return refusal if self._note(STUCK, token, refusal) else None

    def sort_out(self, token: str) -> Landing:
        """Look through an accepted folder: move what cannot be a recording to rejected/, and list the rest.

        A folder in the folder, links, empty and unreadable files, files without an audio ending, and second copies of
        the same content are refused, each with its reason. Repeating it gives the same answer, also after a crash.
        """
        folder = self.accepted / token
        faults = {entry: self._fault_of(entry) for entry in sorted(folder.iterdir())}
        taken = [entry for entry, fault in faults.items() if fault is None]
        faults.update(second_copies(taken))
        for entry, fault in faults.items():
            if fault is not None:
                self._reject(token, entry, fault)
        taken = [entry for entry, fault in faults.items() if fault is None]
        files = tuple(
            NewCall(entry.name, entry.relative_to(self.root).as_posix(), entry.stat().st_size) for entry in taken
        )
        return Landing(token, files, self._refusals(token))

    def discard_empty(self, token: str) -> None:
        """Remove an accepted folder in which nothing was left to take."""
        (self.accepted / token).rmdir()

    def _clock_of_the_volume(self) -> float:
        """The time as the volume's own server stamps files: two machines' clocks need not agree."""
        stamp = self.root / ".clock"
        stamp.touch()
        return stamp.stat().st_mtime

    def _new_token(self) -> str:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._clock()))
        return f"{stamp}-{uuid.uuid4().hex[:8]}"

    def _fault_of(self, entry: Path) -> str | None:
        """Why an entry is no recording that can be taken, or None."""
        try:
            state = entry.lstat()
        except PermissionError:
            return "cannot be read: permission denied"
        if stat.S_ISDIR(state.st_mode):
            return "is a folder inside the dropped folder; drop it by itself"
        if not stat.S_ISREG(state.st_mode):
            return "is not a regular file (a link or a device)"
        if fault := fault_of_name(entry.name):
            return fault
        if state.st_size == 0:
            return "is empty (0 bytes)"
        if state.st_size > self._max_file_bytes:
            return f"is larger than MAX_FILE_BYTES ({state.st_size} > {self._max_file_bytes} bytes)"
        if not os.access(entry, os.R_OK):
            return "cannot be read: permission denied"
        return None

    def _reject(self, token: str, entry: Path, reason: str) -> None:
        """The note is written before the move: a refused file never lies there without its reason."""
        self._note(token, entry.name, Refusal(shown_name(entry.name), reason))
        entry.rename(self.rejected / token / entry.name)

    def _note(self, folder: str, name: str, refusal: Refusal) -> bool:
        """Write a refusal down; whether it was not noted before."""
        note = self.rejected / folder / f"{_shortened(name)}{NOTE_SUFFIX}"
        note.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(refusal), ensure_ascii=False) + "\n"
        is_new = not note.exists()
        note.write_text(text, encoding="utf-8")
        return is_new

    def _refusals(self, token: str) -> tuple[Refusal, ...]:
        notes = sorted((self.rejected / token).glob(f"*{NOTE_SUFFIX}"))
        return tuple(Refusal(**json.loads(note.read_text(encoding="utf-8"))) for note in notes)


def shown_name(name: str) -> str:
    """A file name as text, also where it is not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def fault_of_name(name: str) -> str | None:
    """Why a file name cannot be taken, or None. Names keep their spaces and letters of any script."""
    if len(name) > MAX_NAME_CHARS:
        return f"has a name of {len(name)} characters; {MAX_NAME_CHARS} are possible"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        return "has control characters in its name"
    if fault := fault_of_unfinished(name):
        return fault
    suffix = Path(name).suffix.lower()
    if suffix not in AUDIO_SUFFIXES:
        return f"is not an audio file by its ending ({suffix or 'none'})"
    return None


def is_unfinished(name: str) -> bool:
    """Whether a name says that the file is still being written."""
    return name.lower().endswith(UNFINISHED_SUFFIXES)


def fault_of_unfinished(name: str) -> str | None:
    """Why a name that copying programs use until a file is whole cannot be taken; None for any other name."""
    if not is_unfinished(name):
        return None
    return f"is an unfinished copy by its ending ({Path(name).suffix}); copy it again, or rename it if it is whole"


def _shortened(name: str) -> str:
    """A name that leaves room for an ending within the 255 bytes file systems allow, unique by its digest."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= MAX_NAME_CHARS - 55:
        return name
    kept = encoded[:150].decode("utf-8", "ignore")
    return f"{kept}~{hashlib.sha256(encoded).hexdigest()[:12]}"


def second_copies(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """Files with the same content as an earlier one, each with a reason. Only files of equal size are read."""
    by_size: dict[int, list[Path]] = {}
    for path in files:
        by_size.setdefault(path.stat().st_size, []).append(path)
    found: list[tuple[Path, str]] = []
    for same_size in by_size.values():
        first_with: dict[str, Path] = {}
        for path in same_size if len(same_size) > 1 else ():
            first = first_with.setdefault(_digest(path), path)
            if first is not path:
                found.append((path, f"has the same content as {first.name}"))
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _last_change(entry: Path, now: float) -> float:
    """The latest change of an entry or, for a folder, of anything in it."""
    latest = _changed(entry, now)
    if _is_folder(entry):
        for folder, folders, files in os.walk(entry):
            latest = max([latest, *(_changed(Path(folder, name), now) for name in [*folders, *files])])
    return latest


def _changed(path: Path, now: float) -> float:
    """When a file changed. A modification time yet to come was brought along, such as by a copy from a recorder whose
    clock is wrong: it says nothing, and the file would not settle before that day."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        # Renamed or removed while we look: the copy is still going on.
        return float("inf")
    except OSError:
        # What may not be looked at does not change for us: taking it will say what is wrong.
        return 0.0
    return state.st_ctime if state.st_mtime > now else max(state.st_mtime, state.st_ctime)


def _holds_unfinished(entry: Path) -> bool:
    """Whether an entry is unfinished by its name or, for a folder, by that of a file in it."""
    if is_unfinished(entry.name):
        return True
    if not _is_folder(entry):
        return False
    return any(is_unfinished(name) and not name.startswith(".") for _, _, files in os.walk(entry) for name in files)
