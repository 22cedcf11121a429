"""Every environment variable of the orchestrator, once, with its meaning.

What belongs here: names, types, defaults and checks of settings. What does not: opening what they name.
This module and `cofi_mediator/settings.py` (the GPU-side server's own) are the only readers of the environment; a
test holds that. `.env.example` is generated from both (`cofi doctor --env-example`), and a test compares it.
Decision: without any variable the embedded installation runs (architecture 3.11): SQLite and one mediator on this
machine, all under COFI_HOME. Production differs in settings only.
"""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cofi_resources.errors import ConfigError

GpuMode = Literal["single", "round-robin", "auto"]
LlmBackend = Literal["openai", "mediator", "rules"]
MachineProtocol = Literal["v1", "cofi-legacy", "openai"]


class Settings(BaseSettings):
    """The settings of one installation. A field's name in capitals is its environment variable."""

    # A variable that is set and empty, as .env.example has them, means the default.
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    cofi_home: Path = Field(default=Path(".cofi"), description="Folder of an embedded installation.")
    cofi_database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the results database, such as mysql+pymysql://user:password@host/cofi. "
        "Default: SQLite in COFI_HOME.",
    )
    client_volume: Path | None = Field(
        default=None,
        description="Folder that recordings arrive in and are kept in. Default: COFI_HOME/client_volume.",
    )
    gpu_machines: str = Field(
        default="http://127.0.0.1:5065",
        description="Comma-separated base URLs of the GPU machines, each with an optional ';protocol=v1' part.",
    )
    upload_tick_s: int = Field(
        default=4, ge=1, description="Least seconds between two looks into uploads/; Dagster's daemon looks every 5."
    )
    gpu_mode: GpuMode = Field(
        default="round-robin",
        description="How a machine is chosen: single (the first), round-robin (in turn among machines with room), "
        "auto (the least loaded).",
    )
    mediator_api_key: SecretStr | None = Field(default=None, description="Bearer key the GPU machines ask for, if any.")
    llm_backend: LlmBackend = Field(
        default="rules",
        description="What finds trades and answers the form: openai (a server that speaks that API), mediator (the "
        "GPU machines' own llm1/llm2), or rules (deterministic, no model).",
    )
    llm_base_url: str = Field(
        default="http://127.0.0.1:5066/v1",
        description="Base URL of the OpenAI-compatible server, with its /v1.",
    )
    llm_model: str = Field(default="default", description="Model name sent to the LLM server.")
    llm_api_key: SecretStr | None = Field(default=None, description="Bearer key of the LLM server, if it asks for one.")
    llm_concurrency: int = Field(default=4, ge=1, le=1024, description="Requests to the LLM server at once.")
    llm_context_tokens: int = Field(
        default=8192,
        ge=2048,
        description="Context window of the model; a longer transcript is worked in parts.",
    )
    llm1_enabled: bool = Field(default=True, description="Find the trades spoken about in each call.")
    llm2_enabled: bool = Field(default=True, description="Answer the audit form for each call.")
    audit_process_id: int = Field(
        default=1,
        ge=1,
        description="Row of `process` whose audit form is answered for files dropped into uploads/.",
    )
    files_per_run: int = Field(default=1000, ge=1, le=10_000, description="Calls one Dagster run takes.")
    upload_settle_s: float = Field(
        default=3.0,
        ge=0.0,
        description="Seconds a dropped file must lie unchanged before it is taken.",
    )
    upload_abandoned_s: float = Field(
        default=3600.0,
        ge=0.0,
        description="Seconds without a change after which an unfinished copy (.part, .tmp and the like) is given up: "
        "it is refused, and the folder around it is taken.",
    )
    upload_tick_budget_s: float = Field(
        default=30.0,
        gt=0.0,
        description="Seconds after which a look into uploads/ leaves further drops to the next one; Dagster gives "
        "up on a sensor after 60.",
    )
    min_call_s: float = Field(default=5.0, ge=0.0, description="Calls shorter than this are ShortCall.")
    max_file_bytes: int = Field(default=1 << 30, ge=1, description="Largest recording that is taken.")
    cofi_time_zone: str = Field(
        default="UTC",
        description="Time zone of batchDate, such as Asia/Kolkata: the one the database's CURDATE() is asked in.",
    )
    log_file_start_events: bool = Field(
        default=False,
        description="Write a batchExecutionLog row when a stage starts on a file, and one when it ends.",
    )
    log_successes: bool = Field(
        default=False,
        description="Write processing_logs rows for successes too, not only for failures.",
    )
    progress_update_interval: int = Field(
        default=100,
        ge=1,
        description="Files of a stage between two stage_progress rows in batchExecutionLog.",
    )
    audio_endpoint: str = Field(
        default="",
        description="Prefix of call.audioUrl; the file name follows. Empty: the file name alone.",
    )
    cofi_concurrent_runs: int = Field(
        default=4,
        ge=1,
        description="Dagster runs at once in an embedded installation (`cofi dev` writes it into its "
        "dagster.yaml); in production, run_queue.max_concurrent_runs of dagster.yaml.",
    )

    @field_validator("gpu_machines")
    @classmethod
    def _machines_are_urls(cls, value: str) -> str:
        parse_machines(value)
        return value

    @field_validator("cofi_time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone, such as Asia/Kolkata") from None
        return value

    @field_validator("llm_base_url")
    @classmethod
    def _llm_is_a_url(cls, value: str) -> str:
        return http_url(value, "LLM_API_KEY")

    @classmethod
    def load(cls, **overrides: object) -> "Settings":
        """Settings from the environment and `.env`, with `overrides` by field name on top.

        Raises ConfigError that names every variable that is wrong, and never shows a secret's value.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type]
        except ValidationError as error:
            faults = "; ".join(
                f"{str(fault['loc'][0]).upper()}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            )
            raise ConfigError(f"wrong settings: {faults}") from None

    @cached_property
    def machines(self) -> tuple["MachineAddress", ...]:
        return parse_machines(self.gpu_machines)

    @property
    def time_zone(self) -> ZoneInfo:
        return ZoneInfo(self.cofi_time_zone)

    @property
    def resolved_home(self) -> Path:
        return self.cofi_home.expanduser().absolute()

    @property
    def resolved_database_url(self) -> str:
        if self.cofi_database_url is not None:
            return self.cofi_database_url.get_secret_value()
        return f"sqlite:///{self.resolved_home / 'cofi.db'}"

    @property
    def resolved_client_volume(self) -> Path:
        if self.client_volume is not None:
            return self.client_volume.expanduser().absolute()
        return self.resolved_home / "client_volume"


class MachineAddress(str):
    """A GPU machine's base URL, without a trailing slash; `protocol` says which adapter talks to it."""

    protocol: MachineProtocol

    def __new__(cls, url: str, protocol: MachineProtocol = "v1") -> "MachineAddress":
        address = super().__new__(cls, url)
        address.protocol = protocol
        return address


def parse_machines(value: str) -> tuple[MachineAddress, ...]:
    """`http://a:5065, http://b:5065;protocol=cofi-legacy` -> addresses. ValueError names the part that is wrong."""
    addresses: list[MachineAddress] = []
    for part in (piece.strip() for piece in value.split(",")):
        if not part:
            continue
        url, _, options = part.partition(";")
        address = http_url(url.strip(), "MEDIATOR_API_KEY")
        protocol = "v1"
        if options:
            match = re.fullmatch(r"\s*protocol\s*=\s*(v1|cofi-legacy|openai)\s*", options)
            if match is None:
                raise ValueError(f"{part!r}: after ';' only protocol=v1, cofi-legacy or openai may stand")
            protocol = match.group(1)
        addresses.append(MachineAddress(address, protocol))  # type: ignore[arg-type]
    if not addresses:
        raise ValueError("no machine is named")
    if len(set(addresses)) != len(addresses):
        raise ValueError("a machine is named twice")
    return tuple(addresses)


def http_url(value: str, key_setting: str) -> str:
    """The base URL without a trailing slash. ValueError names what is wrong and never repeats a user or password.

    URLs stand in logs and tables, so a key has no place in them; `key_setting` is where it belongs.
    """
    if "@" in value:
        raise ValueError(f"a URL may hold no user and password: the key belongs into {key_setting}")
    try:
        split = urlsplit(value)
        valid = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{value!r} is no http or https URL")
    return value.rstrip("/")


def child_environment(**changes: str) -> dict[str, str]:
    """This process's environment with `changes`, for a child process."""
    return {**os.environ, **changes}


def dagster_home() -> Path | None:
    """Where Dagster's own instance lives; None if DAGSTER_HOME is not set."""
    home = os.environ.get("DAGSTER_HOME", "")
    return Path(home) if home else None
