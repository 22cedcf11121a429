"""What Prometheus may ask: requests, stages, files.

What belongs here: names and labels of the metrics. What does not: deciding anything by them.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cofi_resources.mediators.protocol import MachineStatus

STAGE_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "cofi_mediator_requests", "Answers sent.", ["method", "route", "status"], registry=self._registry
        )
        self._request_seconds = Histogram(
            "cofi_mediator_request_seconds", "Time to answer.", ["method", "route"], registry=self._registry
        )
        self._stage_seconds = Histogram(
            "cofi_mediator_stage_seconds",
            "Time an engine worked on a request.",
            ["stage", "outcome"],
            buckets=STAGE_BUCKETS,
            registry=self._registry,
        )

    def watch(self, status: Callable[[], MachineStatus]) -> None:
        """Adds gauges that are read from the status when they are asked for."""
        self._registry.register(_StatusCollector(status))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status or "none")).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def stage_ended(self, stage: str, outcome: str, seconds: float) -> None:
        self._stage_seconds.labels(stage, outcome).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _StatusCollector(Collector):
    def __init__(self, status: Callable[[], MachineStatus]) -> None:
        self._status = status

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        status = self._status()
        for name, text in (("running", "worked on now"), ("queued", "waiting"), ("capacity", "worked on at once")):
            gauge = GaugeMetricFamily(f"cofi_mediator_stage_{name}", f"Requests {text}.", labels=["stage"])
            for stage, its_status in status.stages.items():
                gauge.add_metric([stage], getattr(its_status, name))
            yield gauge
        ready = GaugeMetricFamily("cofi_mediator_stage_ready", "1 when the stage takes requests.", labels=["stage"])
        for stage, its_status in status.stages.items():
            ready.add_metric([stage], float(its_status.state == "ready"))
        yield ready
        yield GaugeMetricFamily("cofi_mediator_files", "Recordings stored.", value=status.files.count)
        yield GaugeMetricFamily("cofi_mediator_file_bytes", "Bytes they take.", value=status.files.bytes)
