"""Every environment variable of the reference mediator, once, with its meaning.

    python -m cofi_mediator.settings        prints them, with their defaults, as for a .env file

What belongs here: names, types, defaults and checks of settings. What does not: opening what they name.
"""

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cofi_mediator.errors import WrongSettings


class MediatorSettings(BaseSettings):
    """The settings of one mediator process. A field's name in capitals is its environment variable."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    mediator_host: str = Field(default="127.0.0.1", min_length=1, description="Address the server listens on.")
    mediator_port: int = Field(
        default=5065, ge=0, le=65535, description="Port the server listens on; 0 takes a free one."
    )
    mediator_home: Path = Field(
        default=Path(".cofi/mediator"), description="Folder that uploaded recordings are kept in."
    )
    mediator_models: Path = Field(default=Path(".cofi/models"), description="Folder that model weights are kept in.")
    mediator_api_key: SecretStr | None = Field(
        default=None, description="Bearer key every request must carry. Empty: no authentication."
    )
    mediator_whisper_model: str = Field(
        default="base",
        min_length=1,
        description="Whisper model of lid, stt and ivr: base or tiny.en (as fetched into MEDIATOR_MODELS), a folder "
        "with a CTranslate2 model, or a model name such as large-v3, which faster-whisper downloads on first use.",
    )
    mediator_device: Literal["cpu", "cuda", "auto"] = Field(default="auto", description="Device Whisper runs on.")
    mediator_compute_type: str = Field(
        default="default",
        description="CTranslate2 compute type, such as int8 or float16. default: int8 on a CPU, float16 on a GPU.",
    )
    mediator_beam_size: int = Field(default=1, ge=1, le=20, description="Beam size of Whisper.")
    mediator_cpu_threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads one transcription uses; several calls run side by side."
    )
    mediator_denoise_capacity: int = Field(default=1, ge=1, le=256, description="denoise requests worked on at once.")
    mediator_ivr_capacity: int = Field(default=1, ge=1, le=256, description="ivr requests worked on at once.")
    mediator_lid_capacity: int = Field(default=2, ge=1, le=256, description="lid requests worked on at once.")
    mediator_stt_capacity: int = Field(default=2, ge=1, le=256, description="stt requests worked on at once.")
    mediator_llm_capacity: int = Field(
        default=1, ge=1, le=256, description="llm1, and llm2, requests worked on at once, where an engine is given."
    )
    mediator_stages: str = Field(
        default="denoise,ivr,lid,stt", description="Comma-separated built-in stages this machine offers; may be empty."
    )
    mediator_residency: Literal["all", "exclusive"] = Field(
        default="all",
        description="all: every model is loaded at the start. exclusive: models are loaded and dropped by the "
        "activate and deactivate calls, for a machine that cannot hold all of them.",
    )
    mediator_engine_factory: str = Field(
        default="",
        description="Where further engines (llm1, llm2) come from: module:function, called with these settings, "
        "returning engines by stage name. Empty: none.",
    )
    mediator_max_file_bytes: int = Field(default=1 << 30, ge=1, description="Largest recording that is taken.")
    mediator_store_bytes: int = Field(
        default=20 << 30,
        ge=1,
        description="Room for recordings; over it the least recently used are removed, never one in use.",
    )
    mediator_result_bytes: int = Field(
        default=256 << 20, ge=1 << 20, description="Memory for results remembered by idempotency key."
    )
    mediator_result_ttl_s: float = Field(
        default=3600.0, gt=0, description="Seconds a result is remembered by its idempotency key."
    )
    mediator_upload_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds an upload may stand still before it is given up."
    )

    @field_validator("mediator_stages")
    @classmethod
    def _stages_are_known(cls, value: str) -> str:
        unknown = [name for name in split_names(value) if name not in BUILT_IN_STAGES]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such stage; there are {', '.join(BUILT_IN_STAGES)}")
        return value

    @field_validator("mediator_engine_factory")
    @classmethod
    def _factory_names_a_function(cls, value: str) -> str:
        module, colon, function = value.partition(":")
        if value and not (module and colon and function):
            raise ValueError(f"{value!r} must be module:function")
        return value

    @field_validator("mediator_api_key")
    @classmethod
    def _empty_key_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value() else None

    @model_validator(mode="after")
    def _one_file_fits_the_store(self) -> "MediatorSettings":
        if self.mediator_max_file_bytes > self.mediator_store_bytes:
            raise ValueError("MEDIATOR_MAX_FILE_BYTES is larger than MEDIATOR_STORE_BYTES")
        return self

    @classmethod
    def load(cls, **overrides: object) -> "MediatorSettings":
        """Settings from the environment and `.env`, with `overrides` by field name on top.

        Raises WrongSettings that names every variable that is wrong, and never shows a secret's value.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type]
        except ValidationError as error:
            faults = "; ".join(
                f"{str(fault['loc'][0]).upper()}: {fault['msg']}" if fault["loc"] else fault["msg"]
                for fault in error.errors(include_input=False, include_url=False)
            )
            raise WrongSettings(f"wrong settings: {faults}") from None

    @property
    def stages(self) -> tuple[str, ...]:
        return split_names(self.mediator_stages)

    @property
    def home(self) -> Path:
        return self.mediator_home.expanduser().absolute()

    @property
    def models(self) -> Path:
        return self.mediator_models.expanduser().absolute()

    def capacity(self, stage: str) -> int:
        """How many requests of `stage` are worked on at once."""
        capacities = {
            "denoise": self.mediator_denoise_capacity,
            "ivr": self.mediator_ivr_capacity,
            "lid": self.mediator_lid_capacity,
            "stt": self.mediator_stt_capacity,
        }
        return capacities.get(stage, self.mediator_llm_capacity)


BUILT_IN_STAGES = ("denoise", "ivr", "lid", "stt")


def split_names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def env_example() -> str:
    """Every setting with its meaning and default, commented out."""
    return "".join(
        f"# {field.description}\n# {name.upper()}={'' if field.default is None else field.default}\n\n"
        for name, field in MediatorSettings.model_fields.items()
    )


if __name__ == "__main__":
    sys.stdout.write(env_example())
