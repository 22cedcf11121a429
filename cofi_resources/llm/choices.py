"""An answer in whatever form a model gives it, brought to one of the question's choices.

What belongs here: pure reading of one answer. What does not: asking, asking again.
"""

from collections.abc import Sequence
from functools import lru_cache

from cofi_resources.errors import BadAnswer
from cofi_resources.llm.spoken_numbers import tokens_of

SYNONYMS = {
    "yes": ("y", "yeah", "true", "haan", "ja", "हाँ", "हां"),
    "no": ("n", "nope", "false", "nahi", "नहीं"),
    "na": ("n a", "not applicable", "none", "n/a"),
    "both client and dealer": ("both", "both dealer and client", "client and dealer", "dealer and client"),
}


def normalised(given: str, choices: Sequence[str]) -> str:
    """The choice that is meant: case, punctuation, `&`, and common synonyms do not matter, nor a reason after it.

    Raises BadAnswer for what is none of the choices.
    """
    if given in choices:
        return given
    plain = _plain(given)
    by_text = {_plain(choice): choice for choice in choices}
    for text, choice in list(by_text.items()):
        by_text |= {_plain(other): choice for other in SYNONYMS.get(text, ()) if _plain(other) not in by_text}
    if plain in by_text:
        return by_text[plain]
    first_clause = _plain(
        given.replace(";", ",").replace(":", ",").replace("\n", ",").partition(",")[0].partition(". ")[0]
    )
    if first_clause in by_text:
        return by_text[first_clause]
    raise BadAnswer(f"{given[:80]!r} is none of the choices {', '.join(choices)}")


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    return " ".join(tokens_of(text.replace("&", " and ").replace("/", " ")))
