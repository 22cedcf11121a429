"""The LLM back end as a Dagster resource: configuration and wiring only; the work is in the readers.

What belongs here: what an operator may set for a run on Dagster's page. What does not: keys, which are read from the
settings when the reader is opened and never stand in a run's configuration.
"""

from dagster import ConfigurableResource
from pydantic import Field

from cofi_resources.llm.reader import CallReader, build_reader
from cofi_resources.mediators.pool import MediatorPool
from cofi_resources.settings import LlmBackend, Settings


class LlmResource(ConfigurableResource):
    """What finds trades and answers the form."""

    backend: LlmBackend = Field(description="openai (a server that speaks that API), mediator, or rules (no model).")
    base_url: str = Field(description="Base URL of the OpenAI-compatible server, with its /v1.")
    model: str = Field(description="Model name sent to the server.")
    concurrency: int = Field(ge=1, description="Requests to the server at once.")
    context_tokens: int = Field(ge=2048, description="Context window of the model; longer calls are worked in parts.")

    @classmethod
    def of(cls, settings: Settings) -> "LlmResource":
        return cls(
            backend=settings.llm_backend,
            base_url=settings.llm_base_url,
            model=settings.llm_model,
            concurrency=settings.llm_concurrency,
            context_tokens=settings.llm_context_tokens,
        )

    def open(self, pool: MediatorPool | None) -> CallReader:
        """A reader for the length of a run; close it with `aclose()`."""
        settings = Settings.load(
            llm_backend=self.backend,
            llm_base_url=self.base_url,
            llm_model=self.model,
            llm_concurrency=self.concurrency,
            llm_context_tokens=self.context_tokens,
        )
        return build_reader(settings, pool)
