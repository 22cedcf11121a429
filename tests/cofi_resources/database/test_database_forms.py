"""An audit form is loaded as it is written, may be loaded again, and is read back as it was loaded."""

from dataclasses import replace

import pytest
from audited_calls import FORM
from sqlalchemy import func, select

from cofi_resources.database import forms, tables
from cofi_resources.database.engine import Database
from cofi_resources.errors import ConfigError, InvalidInput
from cofi_resources.records import AuditForm

VOCABULARY = (
    tables.language,
    tables.process,
    tables.category_mapping,
    tables.audit_form,
    tables.section,
    tables.question,
    tables.form_question,
)


def seed(database: Database, form: AuditForm) -> AuditForm:
    database.transact(lambda conn: forms.seed(conn, form))
    return database.read(lambda conn: forms.load_form(conn, 1))


def without_ids(form: AuditForm) -> AuditForm:
    return replace(
        form,
        id=0,
        questions=tuple(replace(item, id=0, section_id=0, sub_section_id=0) for item in form.questions),
    )


def contents(database: Database) -> list[list[tuple[object, ...]]]:
    return [
        [tuple(row) for row in database.read(lambda conn, table=table: conn.execute(select(table)).all())]
        for table in VOCABULARY
    ]


def test_a_form_comes_back_as_it_was_loaded(database: Database) -> None:
    loaded = seed(database, FORM)
    assert without_ids(loaded) == FORM
    assert loaded.id
    assert all(item.id and item.section_id for item in loaded.questions)
    assert [bool(item.sub_section_id) for item in loaded.questions] == [True, False]


def test_loading_a_form_again_changes_nothing(database: Database) -> None:
    seed(database, FORM)
    before = contents(database)
    seed(database, FORM)
    assert contents(database) == before


def test_an_edited_form_keeps_the_ids_of_its_questions(database: Database) -> None:
    old = seed(database, FORM)
    first, second = FORM.questions
    edited = replace(FORM, version="2", questions=(replace(second, weight=9.0, section="Closing"), first))
    new = seed(database, edited)
    assert without_ids(new) == edited
    assert [item.id for item in new.questions] == [old.questions[1].id, old.questions[0].id]
    assert new.id == old.id


def test_a_question_that_is_gone_leaves_the_form_and_keeps_its_row(database: Database) -> None:
    seed(database, FORM)
    shorter = replace(FORM, questions=FORM.questions[:1])
    assert without_ids(seed(database, shorter)) == shorter
    assert database.read(lambda conn: conn.execute(select(func.count()).select_from(tables.question)).scalar()) == 2


def test_sections_that_differ_in_case_only_are_two(database: Database) -> None:
    first, second = FORM.questions
    form = replace(FORM, questions=(replace(first, section="order"), second))
    assert [item.section for item in seed(database, form).questions] == ["order", "Order"]


def test_the_vocabulary_is_there(database: Database) -> None:
    seed(database, FORM)
    codes = set(database.read(lambda conn: conn.execute(select(tables.language.c.languageCode)).scalars().all()))
    assert {"en", "hi", "hinglish", "ko"} <= codes


def test_two_questions_of_one_key_are_refused(database: Database) -> None:
    with pytest.raises(InvalidInput, match="more than one question names_client"):
        seed(database, replace(FORM, questions=(FORM.questions[0], FORM.questions[0])))


@pytest.mark.parametrize("field", ["section", "key", "applicable_to"])
def test_texts_longer_than_their_columns_are_refused_by_name(database: Database, field: str) -> None:
    question = replace(FORM.questions[0], **{field: "x" * 256})
    with pytest.raises(InvalidInput, match=rf"{field}: .* has more than 255 characters"):
        seed(database, replace(FORM, questions=(question,)))


def test_a_process_without_a_form_is_said_with_the_remedy(database: Database) -> None:
    with pytest.raises(ConfigError, match="process 9 has no audit form in the database: run `cofi db seed`"):
        database.read(lambda conn: forms.load_form(conn, 9))
