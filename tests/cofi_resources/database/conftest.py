"""A loaded form, and the two things tests do most: register files, and write outcomes."""

from collections.abc import Callable, Sequence
from itertools import count

import pytest
from audited_calls import DAY, FORM, STAGES

from cofi_resources.database import forms, registry
from cofi_resources.database.engine import Database
from cofi_resources.database.results import LogOptions, write_outcomes
from cofi_resources.records import AuditForm, Call, NewCall, StageOutcome


@pytest.fixture
def form(database: Database) -> AuditForm:
    """The form, loaded into the database, with its ids."""
    database.transact(lambda conn: forms.seed(conn, FORM))
    return database.read(lambda conn: forms.load_form(conn, 1))


Register = Callable[[Sequence[str]], list[Call]]


@pytest.fixture
def register(database: Database, form: AuditForm) -> Register:
    """Registers files as a new batch and gives their calls."""
    drops = count()

    def make(names: Sequence[str]) -> list[Call]:
        files = [NewCall(name, f"uploads/{name}", 1000 + position) for position, name in enumerate(names)]
        source = f"uploads/{next(drops)}"
        batch = database.transact(
            lambda conn: registry.register_batch(
                conn, source=source, kind="upload", batch_date=DAY, files=files, process_id=1
            )
        )
        keys = database.read(lambda conn: registry.partition_keys(conn, batch.id))
        return database.read(lambda conn: registry.calls_by_key(conn, keys))

    return make


Write = Callable[..., None]


@pytest.fixture
def write(database: Database) -> Write:
    """Writes outcomes as one group."""

    def commit(*outcomes: StageOutcome, options: LogOptions | None = None) -> None:
        database.transact(lambda conn: write_outcomes(conn, outcomes, STAGES, options or LogOptions()))

    return commit
