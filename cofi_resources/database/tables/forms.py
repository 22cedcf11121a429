"""The vocabulary that calls and answers refer to: languages, processes, audit forms and their questions."""

from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, UniqueConstraint

from cofi_resources.database.tables.columns import ID, JSON_TEXT, REAL, TEXT, TIMESTAMP, exact, id_column, table

language = table(
    "language",
    id_column(),
    Column("languageCode", exact(16), nullable=False, unique=True),
    Column("languageText", String(64), nullable=False),
)

category_mapping = table(
    "categoryMapping",
    id_column(),
    Column("name", exact(255), nullable=False),
)

audit_form = table(
    "auditForm",
    id_column(),
    Column("name", exact(255), nullable=False, unique=True),
    Column("version", exact(64), nullable=False),
    Column("createdAt", TIMESTAMP, nullable=False),
    Column("updatedAt", TIMESTAMP, nullable=False),
)

process = table(
    "process",
    id_column(),
    Column("name", exact(255), nullable=False),
    Column("auditFormId", ID, ForeignKey("auditForm.id")),
    Column("createdAt", TIMESTAMP, nullable=False),
)

section = table(
    "section",
    id_column(),
    Column("name", exact(255), nullable=False, unique=True),
)
"""Sections and sub-sections both: a name is one row."""

question = table(
    "question",
    id_column(),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("answerType", String(32), nullable=False),
    Column("attribute", TEXT),
    Column("prompt", TEXT, nullable=False),
    Column("intent", TEXT, nullable=False),
    Column("hindiIntent", TEXT, nullable=False),
    Column("requestType", String(32), nullable=False),
    # Ours: the name that never changes, the answers allowed, and the phrases the rules engine looks for.
    Column("questionKey", exact(255), nullable=False, unique=True),
    Column("choices", JSON_TEXT, nullable=False),
    Column("phrases", JSON_TEXT, nullable=False),
)

form_question = table(
    "auditFormSectionQuestionMapping",
    id_column(),
    Column("auditFormId", ID, ForeignKey("auditForm.id"), nullable=False),
    Column("sectionId", ID, ForeignKey("section.id"), nullable=False),
    Column("subSectionId", ID, ForeignKey("section.id")),
    Column("questionId", ID, ForeignKey("question.id"), nullable=False),
    Column("isCritical", Boolean, nullable=False, server_default="0"),
    Column("applicableTo", String(255), nullable=False),
    Column("criticalValue", String(255)),
    Column("weight", REAL, nullable=False, server_default="0"),
    Column("scores", JSON_TEXT, nullable=False),
    Column("sequence", Integer, nullable=False),
    UniqueConstraint("auditFormId", "questionId"),
)
