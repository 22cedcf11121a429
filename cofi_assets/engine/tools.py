"""Opens what the stages of a run need of the outside, and closes it again.

What belongs here: wiring of pool, reader and form into `StageTools`. What does not: any of their work.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from cofi_assets.stages.stage import StageTools
from cofi_resources.database import forms
from cofi_resources.database.engine import Database
from cofi_resources.llm.resource import LlmResource
from cofi_resources.mediators.resource import MediatorPoolResource
from cofi_resources.records import AuditForm
from cofi_resources.settings import Settings


@asynccontextmanager
async def open_tools(
    database: Database, mediators: MediatorPoolResource, llm: LlmResource, settings: Settings
) -> AsyncIterator[StageTools]:
    """Stage tools for the length of a run."""
    async with mediators.open() as pool:
        reader = llm.open(pool)
        try:
            yield StageTools(
                pool=pool,
                reader=reader,
                form_of_process=form_loader(database),
                default_process_id=settings.audit_process_id,
                min_call_s=settings.min_call_s,
            )
        finally:
            await reader.aclose()


def form_loader(database: Database) -> Callable[[int], Awaitable[AuditForm]]:
    """Loads a process's audit form once a run, so that all of its calls are asked the same version."""
    loading: dict[int, asyncio.Future[AuditForm]] = {}

    async def form_of_process(process_id: int) -> AuditForm:
        if process_id not in loading:
            loading[process_id] = asyncio.ensure_future(
                asyncio.to_thread(database.read, lambda connection: forms.load_form(connection, process_id))
            )
        return await asyncio.shield(loading[process_id])

    return form_of_process
