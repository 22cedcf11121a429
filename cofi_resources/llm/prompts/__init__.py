"""The prompts, as files: `version: N` in the first line, then `---`, then what the model is told.

What belongs here: reading them. What does not: filling in a call or a question (`openai.py`). Any change to a text goes
with a new version, which is stored beside every result.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Prompt:
    version: str
    text: str


@lru_cache
def load_prompt(name: str) -> Prompt:
    """The packaged prompt of that name."""
    content = (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")
    found = re.fullmatch(r"version: (\S+)\n---\n(.+)", content, re.DOTALL)
    if found is None:
        raise ValueError(f"prompts/{name}.md: does not begin with `version: N` and `---`")
    return Prompt(found.group(1), found.group(2).strip())
