"""The call reader of an installation, opened for one command.

What belongs here: giving a reader the GPU machines where it needs them. What does not: the readers
(`cofi_resources/llm`).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cofi_resources.llm.reader import CallReader
from cofi_resources.llm.resource import LlmResource
from cofi_resources.mediators.resource import MediatorPoolResource
from cofi_resources.settings import Settings


@asynccontextmanager
async def opened_reader(settings: Settings) -> AsyncIterator[CallReader]:
    """The reader of LLM_BACKEND, closed at the end; with the machines' pool, if the machines are what reads."""
    if settings.llm_backend == "mediator":
        async with MediatorPoolResource.of(settings).open() as pool:
            yield LlmResource.of(settings).open(pool)
        return
    reader = LlmResource.of(settings).open(None)
    try:
        yield reader
    finally:
        await reader.aclose()
