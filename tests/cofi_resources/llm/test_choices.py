"""A model's answer is brought to one of the question's choices, or refused."""

import pytest

from cofi_resources.errors import BadAnswer
from cofi_resources.llm.choices import normalised

YES_NO_NA = ("YES", "NO", "NA")
WHO = ("Dealer", "Client", "Both client & dealer", "NA")


@pytest.mark.parametrize(
    ("given", "choices", "choice"),
    [
        ("YES", YES_NO_NA, "YES"),
        (" yes. ", YES_NO_NA, "YES"),
        ("Yes, the client agrees", YES_NO_NA, "YES"),
        ("n/a", YES_NO_NA, "NA"),
        ("Not applicable", YES_NO_NA, "NA"),
        ("haan", YES_NO_NA, "YES"),
        ("No: nobody says so", YES_NO_NA, "NO"),
        ("dealer", WHO, "Dealer"),
        ("Both client and dealer", WHO, "Both client & dealer"),
        ("both", WHO, "Both client & dealer"),
    ],
)
def test_case_punctuation_and_synonyms_do_not_matter(given: str, choices: tuple[str, ...], choice: str) -> None:
    assert normalised(given, choices) == choice


@pytest.mark.parametrize("given", ["", "maybe", "YES NO", "Broker", "yesterday"])
def test_anything_else_is_a_bad_answer(given: str) -> None:
    with pytest.raises(BadAnswer, match="none of the choices"):
        normalised(given, YES_NO_NA)
