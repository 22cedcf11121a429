"""The mediator pool as a Dagster resource: configuration and wiring only; the work is in `pool.py`.

What belongs here: what an operator may set for a run on Dagster's page. What does not: the machines' key, which is read
from the settings when the pool is opened and never stands in a run's configuration.
"""

from dagster import ConfigurableResource
from pydantic import Field

from cofi_resources.mediators.options import PoolOptions
from cofi_resources.mediators.pool import MediatorPool
from cofi_resources.settings import GpuMode, Settings, parse_machines


class MediatorPoolResource(ConfigurableResource):
    """The GPU machines that work on calls."""

    machines: str = Field(description="Comma-separated base URLs, each with an optional ';protocol=' part.")
    mode: GpuMode = Field(description="single (the first), round-robin (in turn among those with room), or auto.")
    request_timeout_s: float = Field(default=180.0, gt=0, description="Seconds a request may take, beside its audio's.")
    attempts: int = Field(default=6, ge=1, description="Attempts at one request before the call fails its stage.")
    outage_budget_s: float = Field(default=600.0, gt=0, description="Seconds to wait for machines that are all away.")

    @classmethod
    def of(cls, settings: Settings) -> "MediatorPoolResource":
        return cls(machines=settings.gpu_machines, mode=settings.gpu_mode)

    def open(self) -> MediatorPool:
        """A pool for the length of a run, to be used as an async context manager."""
        options = PoolOptions(
            request_s=self.request_timeout_s, attempts=self.attempts, outage_budget_s=self.outage_budget_s
        )
        return MediatorPool(
            parse_machines(self.machines), mode=self.mode, api_key=Settings.load().mediator_api_key, options=options
        )
