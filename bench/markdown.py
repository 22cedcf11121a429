"""Markdown of the figures, and their place in the README.

What belongs here: pure text. What does not: measuring.
"""

from collections.abc import Sequence
from dataclasses import dataclass

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


@dataclass(frozen=True, slots=True)
class Section:
    """What a scenario has to show: a heading, what was done, a table, and what is worth knowing of it."""

    title: str
    method: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""

    def text(self) -> str:
        parts = [f"### {self.title}", self.method]
        if self.rows:
            parts.append(table(self.header, self.rows))
        if self.note:
            parts.append(self.note)
        return "\n\n".join(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others are figures. ValueError for a row of another length."""
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"{len(row)} cells under {len(header)} headings: {row}")
    ruler = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))


def put_between_marks(document: str, text: str) -> str:
    """The document with `text` in place of what stands between the marks. ValueError if they are not there once."""
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise ValueError(f"the document must hold {BEGIN} and after it {END}, once each")
    before, after = document.split(BEGIN)[0], document.split(END)[1]
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{after}"
