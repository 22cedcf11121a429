"""The command line `cofi`.

What belongs here: options, and what is printed. What does not: what a command does; each has a module of its own.
Exit status: 0 it is as asked, 1 it is not (a fault was found, the thing is not there), 2 the command was wrong.
"""

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from cofi_api import dev as dev_stack
from cofi_api import doctor as doctor_checks
from cofi_api import rendering
from cofi_api.processes import Children, Stopped
from cofi_api.readers import opened_reader
from cofi_resources.database import forms, views
from cofi_resources.database.engine import Database
from cofi_resources.errors import CofiError, ConfigError
from cofi_resources.forms import read_form
from cofi_resources.llm.evaluation import Evaluation, evaluate, read_cases
from cofi_resources.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Audits of calls.")
db = typer.Typer(no_args_is_help=True, help="The results database.")
app.add_typer(db, name="db")

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
WATCH_S = 1.0


@contextmanager
def reported() -> Iterator[None]:
    """Failures of ours end the command with their message and status 1, without a stack trace."""
    try:
        yield
    except CofiError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False)
    raise typer.Exit(1)


def say(message: str) -> None:
    out.print(message, markup=False, highlight=False)


@app.command()
def dev(
    home: Annotated[Path, typer.Option(help="Folder of the installation.", envvar="COFI_HOME")] = Path(".cofi"),
    port: Annotated[int, typer.Option(help="Port of Dagster's page.")] = 3000,
    api_port: Annotated[int, typer.Option(help="Reserved for the HTTP API; has no effect yet.")] = 5064,
    mediator_port: Annotated[int, typer.Option(help="Port of the first mediator; the others follow.")] = 5065,
    mediators: Annotated[int, typer.Option(min=1, max=16, help="Mediators to start on this machine.")] = 1,
    llm: Annotated[str, typer.Option(help="openai (a local model), rules, or auto: the model if it can be had.")] = (
        "auto"
    ),
    drop: Annotated[
        Path | None,
        typer.Option(
            help="Folder of recordings to drop into uploads/ at the first start.", exists=True, file_okay=False
        ),
    ] = None,
) -> None:
    """Run an embedded installation in the foreground until Ctrl-C."""
    if llm not in ("auto", "openai", "rules"):
        raise typer.BadParameter("one of auto, openai, rules", param_hint="--llm")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    options = dev_stack.DevOptions(home, port, api_port, mediator_port, mediators, llm, drop)
    with reported(), Children(home.expanduser().absolute() / "logs") as children:
        with suppress(Stopped):
            embedded = dev_stack.prepare(options, say, stop)
            say(f"starting {embedded.parts}: half a minute, the first time somewhat more")
            for spec in dev_stack.child_specs(embedded):
                children.start(spec)
            children.wait_until_ready(stop.is_set)
            if not stop.is_set():
                _say_ready(embedded)
            while not stop.wait(WATCH_S):
                children.check_alive()
        say("ending")


def _say_ready(embedded: dev_stack.Embedded) -> None:
    settings, options = embedded.settings, embedded.options
    say("ready")
    say(f"  Dagster's page    http://127.0.0.1:{options.port}")
    say(f"  mediators         {', '.join(settings.machines)}")
    say(f"  trades, answers   {settings.llm_backend} {settings.llm_model if embedded.llm_file else ''}".rstrip())
    say(f"  drop calls into   {settings.resolved_client_volume / 'uploads'}")
    say(f"  results           {Database(settings.resolved_database_url).name}")
    if options.drop is not None:
        dropped = dev_stack.drop_samples(options.drop, settings)
        say(f"dropped {dropped} recordings" if dropped else "there are calls here already: nothing dropped")
        say(f"  watch             http://127.0.0.1:{options.port}/assets")
        say(f"  read a call       COFI_HOME={settings.resolved_home} cofi show 1")


@db.command()
def upgrade() -> None:
    """Bring the tables to this version; nothing is done where they are."""
    with reported():
        database = open_database()
        pending = database.pending_revisions()
        database.upgrade()
        say(f"applied {', '.join(pending)}" if pending else "the tables are up to date")


@db.command()
def seed(
    form: Annotated[Path | None, typer.Option(help="Audit form in YAML; default: the packaged one.")] = None,
) -> None:
    """Load languages, a process, and the audit form; loading again brings in what was edited."""
    with reported():
        loaded = read_form(form)
        open_upgraded_database().transact(lambda connection: forms.seed(connection, loaded))
        say(f"{loaded.name}: {len(loaded.questions)} questions, version {loaded.version}")


@app.command()
def show(
    call: Annotated[str, typer.Argument(help="A call's number, partition key, or file name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a call's transcript, trades and answers with their evidence."""
    with reported():
        view = open_upgraded_database().read(lambda connection: views.call_view(connection, call))
        if as_json:
            say(json.dumps(asdict(view), default=str, ensure_ascii=False, indent=2))
        else:
            out.print(rendering.call_page(view))


@app.command()
def doctor(
    env_example: Annotated[bool, typer.Option(help="Print .env.example, made from the settings, and end.")] = False,
) -> None:
    """Check settings, database, volume, machines, language model and Dagster; say what to do about each fault."""
    if env_example:
        sys.stdout.write(doctor_checks.env_example())
        return
    with reported():
        findings = asyncio.run(doctor_checks.examine(Settings.load()))
    out.print(rendering.findings_table(findings))
    if any(finding.is_fault for finding in findings):
        raise typer.Exit(1)


@app.command("eval")
def evaluate_form(
    backend: Annotated[str, typer.Option(help="openai, mediator or rules; default: LLM_BACKEND.")] = "",
    form: Annotated[Path | None, typer.Option(help="Audit form in YAML; default: the packaged one.")] = None,
    cases: Annotated[Path | None, typer.Option(help="Folder of cases; default: the packaged ones.")] = None,
) -> None:
    """Run the form over calls with known answers and print the agreement, question by question."""
    with reported():
        settings = Settings.load(**({"llm_backend": backend} if backend else {}))
        result = asyncio.run(_evaluate(settings, form, cases))
    out.print(rendering.evaluation_table(result))


async def _evaluate(settings: Settings, form: Path | None, cases: Path | None) -> Evaluation:
    async with opened_reader(settings) as reader:
        return await evaluate(reader, read_cases(cases), read_form(form))


def open_database() -> Database:
    return Database(Settings.load().resolved_database_url)


def open_upgraded_database() -> Database:
    """The results database. ConfigError if its tables are missing or older than this version."""
    database = open_database()
    if pending := database.pending_revisions():
        raise ConfigError(f"{database.name} lacks migrations {', '.join(pending)}: run `cofi db upgrade`")
    return database
