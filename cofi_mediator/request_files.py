"""The files of one stage request: its input held in place, its output adopted, everything else cleaned up.

What belongs here: `engines.interface.StageFiles` over the store. What does not: the store's own rules (`store.py`).
"""

import hashlib
import shutil
from contextlib import ExitStack
from pathlib import Path

from cofi_mediator.audio import AudioFacts, examine
from cofi_mediator.errors import UnknownFile
from cofi_mediator.store import FileStore, StoredRecording, disk_full_explained


class RequestFiles:
    """Holds leases from the request's admission until `close`."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._held = ExitStack()
        self._inputs: dict[str, Path] = {}
        self._scratch: list[Path] = []

    def hold(self, file_id: str) -> None:
        """Keeps an input in place. Raises UnknownFile."""
        self._inputs[file_id] = self._held.enter_context(self._store.lease(file_id))

    def path(self, file_id: str) -> Path:
        path = self._inputs.get(file_id)
        if path is None or not path.exists():
            raise UnknownFile(f"{file_id} is not stored here: upload it again")
        return path

    def scratch(self) -> Path:
        path = self._store.new_partial()
        self._scratch.append(path)
        return path

    def adopt(self, written: Path, file_id: str) -> AudioFacts:
        facts = examine(written)
        with written.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        recording = StoredRecording(file_id, written.stat().st_size, sha256, round(facts.duration_s, 3))
        self._store.commit(written, recording, replace=True)
        return facts

    def copy(self, file_id: str, output_file_id: str) -> None:
        written = self.scratch()
        with disk_full_explained():
            shutil.copyfile(self.path(file_id), written)
        self.adopt(written, output_file_id)

    def close(self) -> None:
        self._held.close()
        for path in self._scratch:
            path.unlink(missing_ok=True)
