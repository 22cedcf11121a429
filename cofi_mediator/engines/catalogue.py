"""Which engine computes which stage on this machine.

What belongs here: building engines from the settings. What does not: loading them (`stages.py` does, in a thread).
"""

import importlib
from collections.abc import Callable, Mapping

from cofi_mediator.engines.denoise import Denoising
from cofi_mediator.engines.interface import Engines, StageEngine
from cofi_mediator.engines.ivr import MenuRemoval
from cofi_mediator.engines.lid import LanguageIdentification
from cofi_mediator.engines.speakers import SpeakerEmbedding
from cofi_mediator.engines.stt import Transcription
from cofi_mediator.engines.whisper import Whisper, WhisperChoice
from cofi_mediator.errors import WrongSettings
from cofi_mediator.settings import MediatorSettings


def built_in_engines(settings: MediatorSettings) -> Engines:
    """An engine for each stage of MEDIATOR_STAGES; nothing is loaded yet."""
    whisper = Whisper(
        WhisperChoice(
            model=settings.mediator_whisper_model,
            models=settings.models,
            device=settings.mediator_device,
            compute_type=settings.mediator_compute_type,
            beam_size=settings.mediator_beam_size,
            cpu_threads=settings.mediator_cpu_threads,
            parallel=max(settings.mediator_stt_capacity, settings.mediator_lid_capacity),
        )
    )
    makers: Mapping[str, Callable[[], StageEngine]] = {
        "denoise": Denoising,
        "ivr": lambda: MenuRemoval(whisper),
        "lid": lambda: LanguageIdentification(whisper),
        "stt": lambda: Transcription(whisper, SpeakerEmbedding(settings.models)),
    }
    return {stage: makers[stage]() for stage in settings.stages}


def further_engines(settings: MediatorSettings) -> Engines:
    """What MEDIATOR_ENGINE_FACTORY makes; none when it is empty. Raises WrongSettings when it names nothing."""
    if not settings.mediator_engine_factory:
        return {}
    module_name, _, function_name = settings.mediator_engine_factory.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise WrongSettings(f"MEDIATOR_ENGINE_FACTORY: {error}") from error
    return factory(settings)
