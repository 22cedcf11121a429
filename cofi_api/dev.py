"""`cofi dev`: the embedded installation in the foreground.

What belongs here: which processes an embedded installation has and in what order they start. What does not: starting
and ending processes (`processes.py`), checks of an installation (`doctor.py`).
It differs from production in settings only (architecture 3.11): SQLite, mediators on this machine, a llama.cpp server
if its model can be had.
Decision: COFI_DATABASE_URL and CLIENT_VOLUME of the shell or of `.env` are not used. All of an embedded installation
lies under COFI_HOME, and a trial on a machine that is set up for production must not write there.
"""

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dagster as dg
import httpx

from cofi_api.processes import ChildSpec, free_port, raise_if, require_free_port, run_unless_stopped
from cofi_resources.database import forms, registry
from cofi_resources.database.engine import Database
from cofi_resources.errors import ConfigError
from cofi_resources.forms import read_form
from cofi_resources.settings import Settings, child_environment
from cofi_resources.volume import Volume, fault_of_name

Say = Callable[[str], None]
LlmChoice = Literal["auto", "openai", "rules"]

SPEECH_MODELS = ("whisper-base", "speaker-embedding")
LLM_MODEL = "qwen2.5-coder-1.5b"
DAGSTER_BATCH_SIZE = "500"
PROBE_TIMEOUT_S = 2.0
ELSEWHERE = ("cofi_database_url", "client_volume")
"""Settings that would lead out of COFI_HOME."""

DAGSTER_YAML = """\
# Written by `cofi dev` at every start. Production: the dagster.yaml at the top of the repository.
event_log_storage:
  module: cofi_resources.event_log
  class: BulkSqliteEventLogStorage
  config:
    base_dir: {history}
telemetry:
  enabled: false
nux:
  enabled: false
run_launcher:
  module: cofi_resources.run_launcher
  class: MonitoredRunLauncher
  config:
    grace_s: 10.0
run_queue:
  max_concurrent_runs: {concurrent_runs}
  dequeue_interval_seconds: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 120
  poll_interval_seconds: 10
run_retries:
  enabled: true
  max_retries: 3
  retry_on_asset_or_op_failure: false
"""


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What `cofi dev` was asked for."""

    home: Path
    port: int = 3000
    api_port: int = 5064
    mediator_port: int = 5065
    mediators: int = 1
    llm: LlmChoice = "auto"
    drop: Path | None = None

    @property
    def mediator_ports(self) -> range:
        return range(self.mediator_port, self.mediator_port + self.mediators)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A prepared embedded installation. `llm_file` is None where the rules engine reads the calls."""

    options: DevOptions
    settings: Settings
    environment: dict[str, str]
    code_server_port: int
    llm_port: int
    llm_file: Path | None

    @property
    def dagster_home(self) -> Path:
        return self.settings.resolved_home / "dagster"

    @property
    def parts(self) -> str:
        """What is started, in words."""
        mediators = f"{self.options.mediators} mediator{'s' if self.options.mediators > 1 else ''}"
        return ", ".join([mediators, *(["a language model"] if self.llm_file else []), "Dagster's page and daemon"])

    @property
    def models(self) -> Path:
        return self.settings.resolved_home / "models"


def prepare(options: DevOptions, say: Say, stop: threading.Event) -> Embedded:
    """Check the ports, fetch models, and bring folders, database and Dagster home into being. Quick the second time.

    Raises Stopped soon after `stop` is set; what is half made then is made whole at the next start.
    """
    require_free_port(options.port, "Dagster's page", "--port")
    for port in options.mediator_ports:
        require_free_port(port, "a mediator", "--mediator-port")
    home = options.home.expanduser().absolute()
    models = home / "models"
    models.mkdir(parents=True, exist_ok=True)
    say("looking for the speech models (160 MB, fetched once)")
    if not fetch_models(models, SPEECH_MODELS, home / "logs", stop):
        raise ConfigError(
            f"the speech models {', '.join(SPEECH_MODELS)} could not be had: see {home / 'logs' / 'models.log'}; "
            "MEDIATOR_WHISPER_MODEL names another one"
        )
    llm_file = _find_llm(options.llm, models, home / "logs", say, stop)
    llm_port = free_port()
    settings = embedded_settings(options, home, llm_port if llm_file else None, say)
    embedded = Embedded(options, settings, embedded_environment(settings), free_port(), llm_port, llm_file)
    for step in (create_volume, create_database, write_dagster_home, create_dagster_storage):
        raise_if(stop)
        step(embedded)
    raise_if(stop)
    return embedded


def create_volume(embedded: Embedded) -> None:
    Volume(embedded.settings.resolved_client_volume).create()


def create_database(embedded: Embedded) -> None:
    """Make the tables, and load the packaged audit form at the first start: later, the form is its operator's."""
    database = Database(embedded.settings.resolved_database_url)
    database.upgrade()
    # Seeding fills the first process, so that one's form counts too where another process is chosen.
    if not any(_has_form(database, number) for number in (embedded.settings.audit_process_id, forms.FIRST_PROCESS_ID)):
        form = read_form()
        database.transact(lambda connection: forms.seed(connection, form))
    database.dispose()


def _has_form(database: Database, process_id: int) -> bool:
    try:
        database.read(lambda connection: forms.load_form(connection, process_id))
    except ConfigError:
        return False
    return True


def write_dagster_home(embedded: Embedded) -> None:
    home = embedded.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(
        DAGSTER_YAML.format(
            history=json.dumps(str(home / "history")), concurrent_runs=embedded.settings.cofi_concurrent_runs
        ),
        encoding="utf-8",
    )
    (home / "workspace.yaml").write_text(
        "load_from:\n  - grpc_server:\n      host: 127.0.0.1\n"
        f"      port: {embedded.code_server_port}\n      location_name: cofi\n",
        encoding="utf-8",
    )


def create_dagster_storage(embedded: Embedded) -> None:
    """Make Dagster's own tables before any of its processes starts.

    Started at once on an empty home, daemon, page and code server each try to make them; SQLite lets one of them fail.
    """
    with dg.DagsterInstance.from_config(str(embedded.dagster_home)) as instance:
        instance.get_runs_count()
        instance.get_asset_keys(limit=1)
        instance.all_instigator_state()


def fetch_models(folder: Path, names: tuple[str, ...], log_folder: Path, stop: threading.Event) -> dict[str, Path]:
    """Where the models lie, fetched by the reference mediator's own command if need be; empty if one cannot be had.

    Raises Stopped once `stop` is set; what was being fetched is given up.
    """
    log_folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cofi_mediator.models", "--folder", str(folder), "fetch", *names]
    fetched = run_unless_stopped(command, child_environment(), log_folder / "models.log", stop)
    if fetched.returncode != 0:
        return {}
    pairs = (line.partition(": ") for line in fetched.stdout.decode().splitlines())
    return {name: Path(path) for name, _, path in pairs}


def _find_llm(choice: LlmChoice, models: Path, log_folder: Path, say: Say, stop: threading.Event) -> Path | None:
    """The language model's file, or None for the rules engine, saying why."""
    if choice == "rules":
        return None
    say("looking for the language model (1.1 GB, fetched once)")
    found = fetch_models(models, (LLM_MODEL,), log_folder, stop)
    if found:
        return found[LLM_MODEL]
    reason = f"the language model could not be had (see {log_folder / 'models.log'})"
    if choice == "openai":
        raise ConfigError(f"{reason}; `--llm rules` works without one")
    say(f"{reason}: trades and answers come from the rules engine")
    return None


def embedded_settings(options: DevOptions, home: Path, llm_port: int | None, say: Say) -> Settings:
    """The settings of an embedded installation; what would lead out of its home is not used, and said."""
    machines = ",".join(f"http://127.0.0.1:{port}" for port in options.mediator_ports)
    llm = (
        {"llm_backend": "rules"}
        if llm_port is None
        else {
            "llm_backend": "openai",
            "llm_base_url": f"http://127.0.0.1:{llm_port}/v1",
            "llm_model": LLM_MODEL,
            "llm_concurrency": 1,
        }
    )
    found = Settings.load(cofi_home=home, gpu_machines=machines, **llm)
    if set_elsewhere := [name for name in ELSEWHERE if getattr(found, name) is not None]:
        names = " and ".join(name.upper() for name in set_elsewhere)
        say(f"not used here: {names}; an embedded installation keeps everything under {home} (other commands use them)")
    return found.model_copy(update=dict.fromkeys(ELSEWHERE))


def embedded_environment(settings: Settings) -> dict[str, str]:
    """The environment of its processes. What stands here wins over a `.env` that they read by themselves."""
    return child_environment(
        COFI_HOME=str(settings.resolved_home),
        COFI_DATABASE_URL=settings.resolved_database_url,
        CLIENT_VOLUME=str(settings.resolved_client_volume),
        GPU_MACHINES=settings.gpu_machines,
        LLM_BACKEND=settings.llm_backend,
        LLM_BASE_URL=settings.llm_base_url,
        LLM_MODEL=settings.llm_model,
        LLM_CONCURRENCY=str(settings.llm_concurrency),
        DAGSTER_HOME=str(settings.resolved_home / "dagster"),
        DAGSTER_EVENT_BATCH_SIZE=DAGSTER_BATCH_SIZE,
        PYTHONUNBUFFERED="1",
    )


def child_specs(embedded: Embedded) -> Iterator[ChildSpec]:
    """The processes, in the order they start: machines, model, code location, daemon, page."""
    python, options = sys.executable, embedded.options
    for number, port in enumerate(options.mediator_ports, start=1):
        yield ChildSpec(
            f"mediator-{number}",
            [python, "-m", "cofi_mediator"],
            {
                **embedded.environment,
                "MEDIATOR_PORT": str(port),
                "MEDIATOR_HOME": str(embedded.settings.resolved_home / f"mediator-{number}"),
                "MEDIATOR_MODELS": str(embedded.models),
            },
            answers(f"http://127.0.0.1:{port}/readyz"),
        )
    if embedded.llm_file is not None:
        llm_options = ["--port", str(embedded.llm_port), "--context", str(embedded.settings.llm_context_tokens)]
        yield ChildSpec(
            "llm",
            [python, "-m", "cofi_mediator.llm_server", "--model", str(embedded.llm_file), *llm_options],
            embedded.environment,
            answers(f"http://127.0.0.1:{embedded.llm_port}/health"),
        )
    workspace = ["-w", str(embedded.dagster_home / "workspace.yaml")]
    port = str(embedded.code_server_port)
    code_server = [python, "-m", "dagster", "code-server", "start", "-m", "cofi_assets.definitions", "-h", "127.0.0.1"]
    page = f"http://127.0.0.1:{options.port}"
    yield ChildSpec("code-server", [*code_server, "-p", port], embedded.environment, lambda: True)
    yield ChildSpec(
        "webserver",
        [python, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(options.port), *workspace],
        embedded.environment,
        location_is_loaded(page),
    )
    yield ChildSpec(
        "daemon",
        [python, "-m", "dagster._daemon", "run", *workspace],
        embedded.environment,
        daemons_are_healthy(page),
    )


def answers(url: str) -> Callable[[], bool]:
    """Whether a GET of `url` gives 200."""

    def ready() -> bool:
        try:
            return httpx.get(url, timeout=PROBE_TIMEOUT_S, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    return ready


def _graphql(page: str, query: str) -> dict[str, object] | None:
    try:
        answer = httpx.post(f"{page}/graphql", json={"query": query}, timeout=PROBE_TIMEOUT_S, trust_env=False)
    except httpx.TransportError:
        return None
    return answer.json().get("data") if answer.status_code == httpx.codes.OK else None


def location_is_loaded(page: str) -> Callable[[], bool]:
    """Whether Dagster's page answers and has loaded the code location."""

    def ready() -> bool:
        found = _graphql(page, "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name } } } }")
        match found:
            case {"repositoriesOrError": {"nodes": [_, *_]}}:
                return True
        return False

    return ready


def daemons_are_healthy(page: str) -> Callable[[], bool]:
    """Whether every daemon that this instance needs has sent a heartbeat."""

    def ready() -> bool:
        found = _graphql(page, "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }")
        match found:
            case {"instance": {"daemonHealth": {"allDaemonStatuses": [_, *_] as statuses}}}:
                return all(status["healthy"] for status in statuses if status["required"])
        return False

    return ready


def drop_samples(source: Path, settings: Settings) -> int:
    """Copy the recordings of `source` into uploads/ as one folder; how many: 0 where calls were dropped before.

    They appear under their final name only when whole, as any well-behaved copy does.
    """
    volume = Volume(settings.resolved_client_volume)
    dropped = volume.uploads / source.resolve().name
    if dropped.exists() or any(volume.accepted.iterdir()):
        return 0  # an earlier start dropped them and ended before they were registered
    database = Database(settings.resolved_database_url)
    known = database.read(registry.has_batches)
    database.dispose()
    if known:
        return 0
    recordings = [path for path in sorted(source.iterdir()) if path.is_file() and fault_of_name(path.name) is None]
    if not recordings:
        raise ConfigError(f"{source} holds no recordings to drop")
    unfinished = volume.uploads / f"{dropped.name}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for recording in recordings:
        shutil.copyfile(recording, unfinished / recording.name)
    unfinished.rename(dropped)
    return len(recordings)
