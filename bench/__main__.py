"""The figures of the README: `python -m bench`, which is what `make bench` calls.

What belongs here: which scenarios are run, and where their tables go. What does not: any measuring.
Progress goes to standard error, the tables to standard output.
"""

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from bench import first_result, throughput, utilisation
from bench.databases import REPOSITORY, MeasuredDatabase, NoServer, SqliteFiles, private_server
from bench.markdown import Section, put_between_marks
from bench.surroundings import statement

SCENARIOS = ("throughput", "bulk-events", "utilisation", "first-result")
DATABASES = ("sqlite", "server")
SHORT_SHARE = 10
"""A short form takes this part of the calls."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench", description="Measure, and print tables in Markdown.")
    options.add_argument("--only", choices=SCENARIOS, action="append", help="this scenario; may be given again")
    options.add_argument("--database", choices=DATABASES, help="this kind of database alone")
    options.add_argument("--calls", type=_positive, help="calls of each scenario")
    options.add_argument("--short", action="store_true", help="a tenth of the calls: to see that it works")
    options.add_argument("--models", type=Path, default=Path(".cofi/models"), help="folder with fetched models")
    options.add_argument("--clip", type=Path, help="recording of the scenario first-result")
    options.add_argument("--update-readme", action="store_true", help="put the tables between the README's marks")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def sections(
    chosen: argparse.Namespace, folder: Path, databases: Sequence[MeasuredDatabase], say: Callable[[str], None]
) -> Iterator[Section]:
    """Run the chosen scenarios in turn."""

    def calls(usual: int) -> int:
        return chosen.calls or (max(1, usual // SHORT_SHARE) if chosen.short else usual)

    wanted = chosen.only or SCENARIOS
    if "throughput" in wanted:
        yield throughput.throughput(folder, databases, calls(throughput.CALLS), say)
    if "bulk-events" in wanted:
        yield throughput.bulk_events(folder, databases, calls(throughput.CALLS_WITH_STOCK_EVENTS), say)
    if "utilisation" in wanted:
        yield utilisation.utilisation(folder, databases[-1], calls(utilisation.CALLS), say)
    if "first-result" in wanted:
        try:
            yield first_result.first_result(folder, chosen.models, chosen.clip, say)
        except first_result.Skipped as reason:
            say(f"first-result is skipped: {reason}")
            yield Section("From drop to first result", f"Not measured: {reason}")


def _databases(chosen: argparse.Namespace, stack: ExitStack) -> Iterator[MeasuredDatabase]:
    """Those that are wanted and can be had. Raises NoServer where only a server is wanted."""
    if chosen.only == ["first-result"]:
        return
    if chosen.database != "server":
        yield SqliteFiles()
    if chosen.database != "sqlite":
        try:
            yield stack.enter_context(private_server())
        except NoServer as missing:
            if chosen.database == "server":
                raise
            say(f"SQLite only: {missing}")


def main(arguments: Sequence[str] | None = None) -> int:
    # What was started ends with us also when we are told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = parser().parse_args(given)
    # A folder of this machine is nobody else's business.
    words = [Path(word).name if word.startswith("/") else word for word in given]
    stated = statement(shlex.join(["python", "-m", "bench", *words]), date.today())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cofi-bench-")))
        try:
            databases = list(_databases(chosen, stack))
        except NoServer as missing:
            say(str(missing))
            return 1
        made = list(sections(chosen, folder, databases, say))
    text = "\n\n".join([stated, *(section.text() for section in made)])
    print(text)
    if chosen.update_readme:
        readme = REPOSITORY / "README.md"
        readme.write_text(put_between_marks(readme.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
