"""Audit forms as people write them: YAML in, `AuditForm` out.

What belongs here: the shape of the file, its checks, and the packaged form of an order desk. What does not: storing a
form (`database/forms.py`), asking it (`llm/`).
Decision: only `true` and `false` are booleans here. In YAML 1.1 an unquoted YES or NO is one too, and these are the
words a form is full of.
Decision: `critical_value` alone makes a question critical; a flag beside it could contradict it.
"""

import hashlib
import json
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from cofi_resources.errors import InvalidInput
from cofi_resources.llm.facts import FACTS
from cofi_resources.llm.phrases import PhraseError, check_phrases
from cofi_resources.records import AuditForm, Question

PACKAGED_FORM = Path(__file__).parent / "forms_data" / "order_desk.yaml"
YES_NO_NA = ("YES", "NO", "NA")
YES_IS_RIGHT: Mapping[str, float] = {"YES": 1.0, "NO": 0.0}
VERSION_CHARS = 12

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _WrittenQuestion(_Written):
    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    name: Text
    text: Text
    choices: Annotated[tuple[Text, ...], Field(min_length=2)] = YES_NO_NA
    weight: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    scores: dict[str, Share] | None = None
    critical_value: str | None = None
    applicable_to: str = "all calls"
    prompt: str = ""
    intent: str = ""
    hindi_intent: str = ""
    phrases: dict[str, tuple[Text, ...]] = {}

    @field_validator("choices")
    @classmethod
    def _choices_differ(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        if len({choice.casefold() for choice in choices}) != len(choices):
            raise ValueError("a choice stands there twice")
        return choices

    @field_validator("phrases")
    @classmethod
    def _phrases_can_be_read(cls, phrases: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        try:
            check_phrases(phrases, FACTS)
        except PhraseError as error:
            raise ValueError(str(error)) from None
        return phrases

    @model_validator(mode="after")
    def _values_are_choices(self) -> "_WrittenQuestion":
        named = {"scores": list(self.scores or ()), "phrases": list(self.phrases)}
        if self.critical_value is not None:
            named["critical_value"] = [self.critical_value]
        for field, values in named.items():
            unknown = [value for value in values if value not in self.choices]
            if unknown:
                raise ValueError(f"{field}: {unknown[0]!r} is none of the choices {', '.join(self.choices)}")
        if self.weight and not self._shares():
            raise ValueError("scores: a question with a weight needs the share each choice earns")
        return self

    def _shares(self) -> Mapping[str, float]:
        if self.scores is not None:
            return self.scores
        return YES_IS_RIGHT if self.weight and set(YES_IS_RIGHT) <= set(self.choices) else {}

    def question(self, section: str, sub_section: str) -> Question:
        return Question(
            id=0,
            key=self.key,
            name=self.name,
            text=self.text,
            choices=self.choices,
            prompt=self.prompt,
            intent=self.intent,
            hindi_intent=self.hindi_intent,
            section=section,
            sub_section=sub_section,
            applicable_to=self.applicable_to,
            is_critical=self.critical_value is not None,
            critical_value=self.critical_value,
            weight=self.weight,
            scores=dict(self._shares()),
            phrases=dict(self.phrases),
        )


class _WrittenSection(_Written):
    name: Text
    sub_section: str = ""
    questions: Annotated[list[dict[str, Any]], Field(min_length=1)]


class _WrittenForm(_Written):
    name: Text
    sections: Annotated[list[_WrittenSection], Field(min_length=1)]


def read_form(path: Path | None = None) -> AuditForm:
    """The form in a YAML file; without one, the packaged form of an order desk. All ids are 0.

    `version` is a short hash of the parsed content: comments and layout do not change it. Raises InvalidInput that
    names the file, the question and the field.
    """
    path = PACKAGED_FORM if path is None else path
    content = read_yaml(path)
    try:
        written = _WrittenForm.model_validate(content)
    except ValidationError as error:
        raise InvalidInput(f"{path.name}: {_first_fault(error)}") from None
    questions = [_question(path, section, item) for section in written.sections for item in section.questions]
    keys = [question.key for question in questions]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidInput(f"{path.name}: question {key}: key: stands there twice")
    return AuditForm(id=0, name=written.name, version=_version(content), questions=tuple(questions))


def read_yaml(path: Path) -> object:
    """The content of a YAML file in which YES and NO are words. Raises InvalidInput that names the file."""
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, Loader=_WordLoader)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name}: is not UTF-8 text: {error.reason}") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path.name}: is not YAML: {' '.join(str(error).split())}") from error


class _WordLoader(yaml.SafeLoader):
    """Reads yes, no, on and off as words, and refuses a key that stands twice in one mapping."""

    yaml_implicit_resolvers: dict = {  # noqa: RUF012 (PyYAML's own name and shape)
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool",)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands there twice", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


_WordLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def _question(path: Path, section: _WrittenSection, item: dict[str, Any]) -> Question:
    try:
        return _WrittenQuestion.model_validate(item).question(section.name, section.sub_section)
    except ValidationError as error:
        key = item.get("key", f"without a key in {section.name}")
        raise InvalidInput(f"{path.name}: question {key}: {_first_fault(error)}") from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def _version(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:VERSION_CHARS]
