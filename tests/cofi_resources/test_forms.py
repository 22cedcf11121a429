"""An audit form is read from YAML, and a wrong one is refused by file, question and field."""

from pathlib import Path

import pytest

from cofi_resources.errors import InvalidInput
from cofi_resources.forms import read_form

SMALL = """
name: Small
sections:
  - name: Opening
    sub_section: Identity
    questions:
      - key: asked
        name: Asked
        text: Is the code asked for?
        weight: 2
        critical_value: NO
        phrases: {YES: [client code], NO: []}
  - name: Closing
    questions:
      - key: who
        name: Who
        text: Who ends the call?
        choices: [Dealer, Client, NA]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "desk.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_packaged_form_is_that_of_an_order_desk() -> None:
    form = read_form()
    assert len(form.questions) >= 24
    assert sum(question.weight for question in form.questions) > 0
    assert any(question.critical_value == "NO" for question in form.questions)
    assert any(question.critical_value == "YES" for question in form.questions)
    assert any(set(question.choices) != {"YES", "NO", "NA"} for question in form.questions)
    assert any(question.sub_section for question in form.questions)
    for question in form.questions:
        assert question.phrases, question.key
        assert question.prompt, question.key
        assert question.intent, question.key
        assert question.hindi_intent, question.key
        assert question.section, question.key


def test_the_worst_answer_to_a_critical_question_earns_nothing() -> None:
    for question in read_form().questions:
        if question.critical_value is not None:
            assert question.is_critical
            assert question.scores[question.critical_value] == 0.0, question.key


def test_an_unquoted_yes_is_a_word(tmp_path: Path) -> None:
    form = read_form(written(tmp_path, SMALL))
    asked, who = form.questions
    assert (asked.choices, asked.critical_value, asked.is_critical) == (("YES", "NO", "NA"), "NO", True)
    assert (asked.section, asked.sub_section) == ("Opening", "Identity")
    assert asked.scores == {"YES": 1.0, "NO": 0.0}
    assert asked.phrases == {"YES": ("client code",), "NO": ()}
    assert (who.choices, who.scores, who.is_critical) == (("Dealer", "Client", "NA"), {}, False)
    assert {form.id, asked.id, who.id, asked.section_id} == {0}


def test_the_version_follows_the_content_and_not_the_layout(tmp_path: Path) -> None:
    version = read_form(written(tmp_path, SMALL)).version
    assert read_form(written(tmp_path, f"# a remark\n{SMALL}\n")).version == version
    assert read_form(written(tmp_path, SMALL.replace("weight: 2", "weight: 3"))).version != version


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("key: who", "key: asked"), "question asked: key: stands there twice"),
        (("key: who", "key: Who?"), r"question Who\?: key"),
        (("        text: Who ends the call?\n", ""), "question who: text: Field required"),
        (("weight: 2", "weight: -1"), "question asked: weight"),
        (("weight: 2", "weight: .inf"), "question asked: weight"),
        (
            ("critical_value: NO", "critical_value: MAYBE"),
            "question asked: critical_value: 'MAYBE' is none of the choices",
        ),
        (("[Dealer, Client, NA]", "[Dealer, dealer]"), "question who: choices: a choice stands there twice"),
        (("[Dealer, Client, NA]", "[Dealer]"), "question who: choices"),
        (
            ("[Dealer, Client, NA]", "[Dealer, Client]\n        weight: 1"),
            "question who: scores: a question with a weight",
        ),
        (("{YES: [client code], NO: []}", "{SURE: [client code], NO: []}"), "phrases: 'SURE' is none of the choices"),
        (
            ("{YES: [client code], NO: []}", "{YES: [client code]}"),
            "question asked: phrases: one choice needs an empty",
        ),
        (("[client code]", "['boss: code']"), "question asked: phrases: 'boss: code'"),
        (("[client code]", "[<moon>]"), "question asked: phrases: '<moon>': the facts are"),
        (("weight: 2", "wieght: 2"), "question asked: wieght"),
        (("weight: 2", "weight: 2\n        weight: 3"), "'weight' stands there twice"),
        (("name: Small", "title: Small"), "desk.yaml: name: Field required"),
        (("name: Small", "name: [Small"), "desk.yaml: is not YAML"),
    ],
)
def test_a_wrong_form_is_refused_by_file_question_and_field(
    tmp_path: Path, change: tuple[str, str], fault: str
) -> None:
    assert change[0] in SMALL
    with pytest.raises(InvalidInput, match=fault) as caught:
        read_form(written(tmp_path, SMALL.replace(*change)))
    assert "desk.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]", "name: X\nsections: []"])
def test_a_file_that_is_no_form_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"desk\.yaml"):
        read_form(written(tmp_path, text))


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_form(tmp_path / "absent.yaml")
    (tmp_path / "desk.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"desk\.yaml"):
        read_form(tmp_path / "desk.yaml")
