"""The pipeline on one page: the stages of a call, in the order a call goes through them.

Assets, flags, status columns, progress and documentation are derived from this table. A new stage is one file beside
this one, named as below, and one line in the table (`docs/extending.md`).
"""

from importlib import import_module

from cofi_assets.stages.stage import Stage
from cofi_resources.settings import Settings

PIPELINE = (
    "distribution",
    "lid",
    "transcripts",
    "llm1_conversations",
    "audit_answers",
)

STAGES: tuple[Stage, ...] = tuple(import_module(f"{__name__}.{name}").STAGE for name in PIPELINE)


def enabled_stages(settings: Settings) -> tuple[Stage, ...]:
    """The stages this installation runs, in order."""
    switched_off = {
        name
        for name, enabled in (
            ("llm1_conversations", settings.llm1_enabled),
            ("audit_answers", settings.llm2_enabled),
        )
        if not enabled
    }
    return tuple(stage for stage in STAGES if stage.name not in switched_off)
