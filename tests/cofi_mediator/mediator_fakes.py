"""A mediator on loopback with engines that compute nothing, and sound made in code."""

import base64
import hashlib
import io
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import uvicorn

from cofi_mediator.app import create_app
from cofi_mediator.engines.interface import StageFiles
from cofi_mediator.settings import MediatorSettings
from cofi_resources.mediators.protocol import Engine, LidResult, SttResult, SttSegment, WireModel

PATIENCE_S = 20.0


class FakeEngine:
    """Answers at once, unless told to wait; counts its runs. Subclasses make the result of their stage."""

    def __init__(self) -> None:
        self.runs = 0
        self.loads = 0
        self.load_failure: Exception | None = None
        self.run_failure: Exception | None = None
        self.may_load = threading.Event()
        self.may_run = threading.Event()
        self.may_load.set()
        self.may_run.set()
        self.begun = threading.Semaphore(0)

    def describe(self) -> Engine:
        return Engine(name="fake", model="none", version="1")

    def load(self) -> None:
        assert self.may_load.wait(PATIENCE_S)
        if self.load_failure is not None:
            raise self.load_failure
        self.loads += 1

    def unload(self) -> None:
        self.loads -= 1

    def run(self, request: Any, files: StageFiles) -> WireModel:
        self.runs += 1
        self.begun.release()
        assert self.may_run.wait(PATIENCE_S)
        if self.run_failure is not None:
            raise self.run_failure
        return self.result(request, files)

    def result(self, request: Any, files: StageFiles) -> WireModel:
        raise NotImplementedError


class FakeLid(FakeEngine):
    def result(self, request: Any, files: StageFiles) -> WireModel:
        assert files.path(request.file_id).stat().st_size > 0
        return LidResult(language="hi", confidence=0.9, duration_s=1.0)


class FakeStt(FakeEngine):
    def result(self, request: Any, files: StageFiles) -> WireModel:
        segment = SttSegment(start_s=0.0, end_s=1.0, text="buy 100", confidence=0.5)
        return SttResult(language=request.language or "en", duration_s=1.0, segments=[segment], engine=self.describe())


class Mediator:
    """A running server and a client for it."""

    def __init__(self, url: str, engines: dict[str, FakeEngine], home: Path) -> None:
        self.url = url
        self.engines = engines
        self.home = home
        self.client = httpx.Client(base_url=url, timeout=PATIENCE_S)

    def put(self, file_id: str, content: bytes, **headers: str) -> httpx.Response:
        return self.client.put(
            f"/v1/files/{file_id}", content=content, headers={"Content-Digest": digest(content), **headers}
        )

    def run(self, stage: str, body: dict[str, Any], key: str | None = None, **headers: str) -> httpx.Response:
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.client.post(f"/v1/stages/{stage}", json=body, headers=headers)

    def wait_until_ready(self) -> None:
        until(lambda: self.client.get("/readyz").status_code == 200)


class _AnnouncingServer(uvicorn.Server):
    """Says when it listens, so that nobody has to guess."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@contextmanager
def running_mediator(
    home: Path, engines: dict[str, FakeEngine], *, ready: bool = True, **settings: Any
) -> Iterator[Mediator]:
    """A mediator on a free port of loopback, ended on the way out."""
    loaded = MediatorSettings.load(mediator_home=home, _env_file=None, **settings)
    config = uvicorn.Config(
        create_app(loaded, engines), port=0, log_config=None, ws="none", timeout_graceful_shutdown=5
    )
    server = _AnnouncingServer(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert server.listens.wait(PATIENCE_S)
    port = server.servers[0].sockets[0].getsockname()[1]
    mediator = Mediator(f"http://127.0.0.1:{port}", engines, home)
    try:
        if ready:
            mediator.wait_until_ready()
        yield mediator
    finally:
        mediator.client.close()
        for engine in engines.values():
            engine.may_load.set()
            engine.may_run.set()
        server.should_exit = True
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def made_from(settings: MediatorSettings) -> dict[str, FakeEngine]:
    """An engine factory, as MEDIATOR_ENGINE_FACTORY names one."""
    return {"llm1": FakeLid()} if settings.stages else {}


def until(condition: Any) -> None:
    """Returns once `condition()` holds; fails when it does not in good time."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about in time")


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def tone(seconds: float, rate: int = 8000, hertz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(seconds: float = 1.0, rate: int = 8000, hertz: float = 440.0) -> bytes:
    """A mono 16-bit WAV file with a tone."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((tone(seconds, rate, hertz) * 32767).astype("<i2").tobytes())
    return target.getvalue()


def encoded(channels: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    """A file of samples shaped (channels, samples) in any container and codec the libraries can write."""
    target = io.BytesIO()
    layout = "stereo" if len(channels) == 2 else "mono"
    with av.open(target, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.frame_size or 1024)
        for source in (frame, None):
            for part in resampler.resample(source):
                output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return target.getvalue()
