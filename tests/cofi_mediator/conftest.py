"""A mediator with fake engines for every test that wants one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mediator_fakes import FakeLid, FakeStt, Mediator, running_mediator


@pytest.fixture
def mediator(tmp_path: Path) -> Iterator[Mediator]:
    """lid and stt, one request each at once, ready."""
    engines = {"lid": FakeLid(), "stt": FakeStt()}
    with running_mediator(tmp_path / "home", engines, mediator_lid_capacity=1, mediator_stt_capacity=1) as started:
        yield started
