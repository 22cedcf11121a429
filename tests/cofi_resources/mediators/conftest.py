"""A small recording."""

from pathlib import Path

import pytest

from cofi_resources.mediators.pool import LocalAudio


@pytest.fixture
def audio(tmp_path: Path) -> LocalAudio:
    path = tmp_path / "call 1.wav"
    path.write_bytes(b"RIFF" * 100)
    return LocalAudio(1, path, "call 1.wav")
