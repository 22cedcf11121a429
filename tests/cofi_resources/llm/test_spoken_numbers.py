"""Numbers are read however they are said or written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofi_resources.llm.spoken_numbers import SCALES, TENS, UNITS, number_of, numbers_in, tokens_of


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("two hundred and fifty", 250),
        ("two fifty", 250),
        ("twenty four fifty", 2450),
        ("24 50", 2450),
        ("2,450", 2450),
        ("2,450.50", 2450.5),
        ("2450 point five", 2450.5),
        ("two thousand four hundred fifty", 2450),
        ("fifteen twenty", 1520),
        ("sixteen hundred and eighty", 1680),
        ("one lakh", 100_000),
        ("two lakh fifty thousand", 250_000),
        ("22 thousand five hundred", 22_500),
        ("do sau pachas", 250),
        ("दो सौ", 200),
        ("one hundred and twenty point seven five", 120.75),
    ],
)
def test_a_number_is_read_as_it_is_said(said: str, number: float) -> None:
    assert number_of(tokens_of(said)) == number
    assert number in numbers_in(f"Buy it at {said}, please.")


def test_a_part_of_a_larger_number_is_no_number_that_was_said() -> None:
    assert 4 not in numbers_in("four hundred shares")
    assert 100 not in numbers_in("four hundred shares")


def test_words_and_numbers_of_indian_scripts_stay_whole() -> None:
    assert tokens_of("इन्फोसिस के सौ शेयर") == ["इन्फोसिस", "के", "सौ", "शेयर"]


def in_words(number: int) -> str:
    """English words of a whole number below a crore, in the Indian way."""
    ones = {value: word for word, value in {**UNITS, **TENS}.items()}
    for scale in ("lakh", "thousand", "hundred"):
        if number >= SCALES[scale]:
            rest = number % SCALES[scale]
            return f"{in_words(number // SCALES[scale])} {scale}" + (f" {in_words(rest)}" if rest else "")
    return ones[number] if number in ones else f"{ones[number // 10 * 10]} {ones[number % 10]}"


@given(st.integers(1, 9_999_999))
def test_every_whole_number_in_words_is_read_back(number: int) -> None:
    assert number_of(tokens_of(in_words(number))) == number


@given(st.integers(1, 9_999_999))
def test_every_whole_number_in_digits_is_found_in_a_sentence(number: int) -> None:
    assert number in numbers_in(f"sell it at {number:,} rupees")


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    assert all(number >= 0 for number in numbers_in(text))
