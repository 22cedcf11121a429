"""Partition keys are short, plain and unique, whatever a file is called."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofi_resources.call_keys import MAX_KEY_LENGTH, batch_key, batch_of, call_key

ORDINALS = st.integers(min_value=1, max_value=10**9)
BATCHES = st.builds(batch_key, st.dates(), st.integers(min_value=1, max_value=99_999))


def test_keys_read_as_documented() -> None:
    assert batch_key(date(2026, 1, 15), 1) == "2026-01-15.1"
    assert call_key("2026-01-15.1", 42, "client_0931.wav") == "2026-01-15.1|000042-client_0931.wav"


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("Client 0931 (copy).WAV", "client-0931-copy.wav"),
        ("Café.mp3", "cafe.mp3"),
        ("ग्राहक.wav", "call.wav"),
        ("../../etc/passwd", "etc-passwd"),
        ("a...b.wav", "a.b.wav"),
        ("", "call"),
        ("no_extension", "no_extension"),
    ],
)
def test_a_name_stays_readable(name: str, readable: str) -> None:
    assert call_key("2026-01-15.1", 1, name) == f"2026-01-15.1|000001-{readable}"


def test_a_long_name_keeps_its_extension() -> None:
    key = call_key("2026-01-15.1", 1, "x" * 300 + ".wav")
    assert len(key) == MAX_KEY_LENGTH
    assert key.endswith("x.wav")


@given(BATCHES, ORDINALS, st.text(max_size=300))
def test_every_name_gives_a_key_that_dagster_can_keep(batch: str, ordinal: int, name: str) -> None:
    key = call_key(batch, ordinal, name)
    assert len(key) <= 64
    assert re.fullmatch(r"[a-z0-9._-]+\|[a-z0-9._-]+", key)
    assert "..." not in key
    assert batch_of(key) == batch


@given(ORDINALS, ORDINALS, st.text(max_size=80), st.text(max_size=80))
def test_two_calls_of_a_batch_never_share_a_key(first: int, second: int, name: str, other: str) -> None:
    same = call_key("2026-01-15.1", first, name) == call_key("2026-01-15.1", second, other)
    assert not same or first == second


@pytest.mark.parametrize(
    "text", ["", "2026-01-15.1", "2026-01-15.1|42-a.wav", "2026-01-15.1|000042-A.wav", "x" * 60 + "|000042-a.wav"]
)
def test_what_is_no_key_of_a_call_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no key of a call"):
        batch_of(text)
