"""Audit forms in the database: loaded from what was read of the YAML, and read back for the engine.

What belongs here: `auditForm`, `question`, `section`, their mapping, and the rows everything refers to (languages, the
first process, the first category). What does not: reading YAML (`cofi_resources/forms.py`).
Decision: a question is known by its key, a section by its name. What leaves the YAML leaves the mapping; the question's
row stays, because old answers refer to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, bindparam, delete, insert, select, update

from cofi_resources.database.tables import (
    audit_form,
    category_mapping,
    form_question,
    language,
    process,
    question,
    section,
    utc_now,
)
from cofi_resources.errors import ConfigError, InvalidInput
from cofi_resources.records import AuditForm, Question

LANGUAGES = {
    "en": "English",
    "hi": "Hindi",
    "hinglish": "Hindi and English mixed",
    "as": "Assamese",
    "bn": "Bengali",
    "gu": "Gujarati",
    "kn": "Kannada",
    "ko": "Korean",
    "ml": "Malayalam",
    "mr": "Marathi",
    "or": "Odia",
    "pa": "Punjabi",
    "ta": "Tamil",
    "te": "Telugu",
    "ur": "Urdu",
}
FIRST_PROCESS_ID = 1
FIRST_CATEGORY_ID = 1
_ANSWER_TYPE = "choice"
_REQUEST_TYPE = "multiple"

# Index: uq_auditFormSectionQuestionMapping_auditFormId_questionId, then primary keys.
_SUB_SECTION = section.alias("subSection")
_QUESTIONS_OF_FORM = (
    select(
        question,
        form_question.c.sectionId,
        form_question.c.subSectionId,
        form_question.c.isCritical,
        form_question.c.applicableTo,
        form_question.c.criticalValue,
        form_question.c.weight,
        form_question.c.scores,
        section.c.name.label("sectionName"),
        _SUB_SECTION.c.name.label("subSectionName"),
    )
    .select_from(
        form_question.join(question, question.c.id == form_question.c.questionId)
        .join(section, section.c.id == form_question.c.sectionId)
        .outerjoin(_SUB_SECTION, _SUB_SECTION.c.id == form_question.c.subSectionId)
    )
    .where(form_question.c.auditFormId == bindparam("form_id"))
    .order_by(form_question.c.sequence)
)

# Index: the primary keys.
_FORM_OF_PROCESS = (
    select(audit_form.c.id, audit_form.c.name, audit_form.c.version)
    .select_from(process.join(audit_form, audit_form.c.id == process.c.auditFormId))
    .where(process.c.id == bindparam("process_id"))
)

# Index: uq_auditFormSectionQuestionMapping_auditFormId_questionId.
_DELETE_MAPPINGS = delete(form_question).where(
    form_question.c.auditFormId == bindparam("form_id"),
    form_question.c.questionId.in_(bindparam("ids", expanding=True)),
)


def seed(conn: Connection, form: AuditForm) -> None:
    """Loads languages, the first process and category, and the form, which becomes that process's form.

    Loading the same form again changes nothing. Raises InvalidInput for a form with two questions of one key, or
    with texts longer than their columns.
    """
    _check(form)
    _seed_vocabulary(conn)
    form_id = _put(conn, audit_form, {"name": form.name}, {"version": form.version}, stamped=True)
    _put(
        conn,
        process,
        {"id": FIRST_PROCESS_ID},
        {"auditFormId": form_id},
        new={"name": "Order desk", "createdAt": utc_now()},
    )
    names = {name for item in form.questions for name in (item.section, item.sub_section) if name}
    section_ids = {name: _put(conn, section, {"name": name}, {}) for name in sorted(names)}
    question_ids = [_put(conn, question, {"questionKey": item.key}, _question_columns(item)) for item in form.questions]
    for sequence, (item, question_id) in enumerate(zip(form.questions, question_ids, strict=True)):
        _put(
            conn,
            form_question,
            {"auditFormId": form_id, "questionId": question_id},
            _mapping_columns(item, section_ids, sequence),
        )
    mapped = conn.execute(select(form_question.c.questionId).where(form_question.c.auditFormId == form_id)).scalars()
    gone = sorted(set(mapped).difference(question_ids))
    if gone:
        conn.execute(_DELETE_MAPPINGS, {"form_id": form_id, "ids": gone})


def load_form(conn: Connection, process_id: int) -> AuditForm:
    """The audit form of a process, with the ids that answers are stored under. Raises ConfigError when it has none."""
    row = conn.execute(_FORM_OF_PROCESS, {"process_id": process_id}).one_or_none()
    if row is None:
        raise ConfigError(f"process {process_id} has no audit form in the database: run `cofi db seed`")
    questions = conn.execute(_QUESTIONS_OF_FORM, {"form_id": row.id}).mappings()
    return AuditForm(row.id, row.name, row.version, tuple(_question(columns) for columns in questions))


def _check(form: AuditForm) -> None:
    keys = [item.key for item in form.questions]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise InvalidInput(f"questions: the form {form.name!r} has more than one question {', '.join(twice)}")
    short_texts = [("name", form.name)]
    for item in form.questions:
        short_texts += [(f"question {item.key}: section", name) for name in (item.section, item.sub_section)]
        short_texts += [
            (f"question {item.key}: key", item.key),
            (f"question {item.key}: applicable_to", item.applicable_to),
        ]
        short_texts += [(f"question {item.key}: choices", choice) for choice in item.choices]
        if not item.section:
            raise InvalidInput(f"question {item.key}: section: is missing")
    for field, text in short_texts:
        if len(text) > 255:
            raise InvalidInput(f"{field}: {text[:40]!r}... has more than 255 characters")


def _seed_vocabulary(conn: Connection) -> None:
    for code, text in LANGUAGES.items():
        _put(conn, language, {"languageCode": code}, {}, new={"languageText": text})
    _put(conn, category_mapping, {"id": FIRST_CATEGORY_ID}, {}, new={"name": "Default"})


def _put(
    conn: Connection,
    table: Table,
    key: Mapping[str, Any],
    columns: Mapping[str, Any],
    *,
    new: Mapping[str, Any] | None = None,
    stamped: bool = False,
) -> int:
    """Makes the row with this unique `key` have these `columns`, and returns its id.

    `new` are values for a row that is not there yet; `stamped` tables have createdAt and updatedAt. A row that has
    the values already is not touched.
    """
    match = [table.c[name] == value for name, value in key.items()]
    row = conn.execute(select(table).where(*match)).mappings().one_or_none()
    now = utc_now()
    if row is None:
        stamps = {"createdAt": now, "updatedAt": now} if stamped else {}
        result = conn.execute(insert(table).values(**key, **columns, **(new or {}), **stamps))
        assert result.inserted_primary_key is not None
        return result.inserted_primary_key[0]
    if any(row[name] != value for name, value in columns.items()):
        stamps = {"updatedAt": now} if stamped else {}
        conn.execute(update(table).where(table.c.id == row["id"]).values(**columns, **stamps))
    return row["id"]


def _question_columns(item: Question) -> dict[str, Any]:
    return {
        "name": item.name,
        "description": item.text,
        "answerType": _ANSWER_TYPE,
        "prompt": item.prompt,
        "intent": item.intent,
        "hindiIntent": item.hindi_intent,
        "requestType": _REQUEST_TYPE,
        "choices": list(item.choices),
        "phrases": {choice: list(phrases) for choice, phrases in item.phrases.items()},
    }


def _mapping_columns(item: Question, section_ids: Mapping[str, int], sequence: int) -> dict[str, Any]:
    return {
        "sectionId": section_ids[item.section],
        "subSectionId": section_ids[item.sub_section] if item.sub_section else None,
        "isCritical": item.is_critical,
        "applicableTo": item.applicable_to,
        "criticalValue": item.critical_value,
        "weight": item.weight,
        "scores": dict(item.scores),
        "sequence": sequence,
    }


def _question(columns: RowMapping) -> Question:
    phrases: Mapping[str, Sequence[str]] = columns["phrases"]
    return Question(
        id=columns["id"],
        key=columns["questionKey"],
        name=columns["name"],
        text=columns["description"],
        choices=tuple(columns["choices"]),
        prompt=columns["prompt"],
        intent=columns["intent"],
        hindi_intent=columns["hindiIntent"],
        section=columns["sectionName"],
        sub_section=columns["subSectionName"] or "",
        section_id=columns["sectionId"],
        sub_section_id=columns["subSectionId"] or 0,
        applicable_to=columns["applicableTo"],
        is_critical=bool(columns["isCritical"]),
        critical_value=columns["criticalValue"],
        weight=columns["weight"],
        scores=columns["scores"],
        phrases={choice: tuple(found) for choice, found in phrases.items()},
    )
