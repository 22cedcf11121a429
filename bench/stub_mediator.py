"""A stub GPU machine: the mediator protocol, version 1, without engines, with programmable times and faults.

    python -m bench.stub_mediator --port 0 --capacity 4 --stt-seconds lognormal:0.5,0.5 --slow-factor 3

What belongs here: a lean server for tests, benchmarks and fault drills; its answers are derived from the file's id, so
they can be checked. What does not: real engines (`cofi_mediator`), the client (`cofi_resources/mediators`).
Faults are set by `POST /stub/faults` (or `StubMachine.faults`), counters are read at `GET /stub/counters`.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

STAGES = ("lid", "stt", "llm1", "llm2")
FILE_ID = re.compile(r"[A-Za-z0-9._-]{1,120}")
SAID = "please buy fifty shares of reliance at two thousand four hundred and fifty yes that is right"
HANG_S = 3600.0
DRIP_S = 0.02
AFTER_THE_WORK = ("nonsense", "other_call", "lost")


@dataclass(slots=True)
class StubOptions:
    """What the machine offers and how long it takes: for each stage a function that draws seconds."""

    capacity: int = 8
    queue: int | None = None
    segments: int = 50
    duration_s: float = 180.0
    language: str = "en"
    seconds: Mapping[str, Callable[[random.Random], float]] = field(default_factory=dict)
    slow_factor: float = 1.0
    api_key: str | None = None
    seed: int = 1
    answers_later: bool = False
    """Answer 202 with a task, as servers with long work may."""


@dataclass(slots=True)
class Fault:
    """How the next `times` requests to `target` (a stage, `upload`, or `*`) go wrong.

    Kinds: `status` (an error answer with `status`, `code`, `retry_after`), `refuse` (cut before any answer), `reset`
    (cut in mid-body), `lost` (worked on and remembered, then cut in mid-body), `hang`, `drip` (a byte now and then,
    without end), `garbage` (200 with JSON of the wrong shape), `html` (200 with a page), `nonsense` (200, right schema,
    wrong meaning), `other_call` (200, the answer for another file), `forget` (all files are unknown), `error_body` (an
    error status with a body that looks like a result), `echo` (an error that repeats the request's headers).
    """

    target: str
    kind: str
    times: int = 1
    status: int = 500
    code: str = "engine_failed"
    retry_after: float | None = None


@dataclass(slots=True)
class Busy:
    """When a stage's slots were at work: start and end of each request, by the system's monotonic clock."""

    spans: list[tuple[float, float]] = field(default_factory=list)

    @property
    def starts(self) -> tuple[float, float]:
        """First and last start; zeros if there was none."""
        return min(self.spans, default=(0.0, 0.0))[0], max(self.spans, default=(0.0, 0.0))[0]

    def worked_s(self, since: float, until: float) -> float:
        """Slot-seconds worked between two moments."""
        return sum(max(0.0, min(end, until) - max(start, since)) for start, end in self.spans)


class StubMachine:
    """The server. In a test: `async with StubMachine() as stub: stub.url`."""

    def __init__(self, options: StubOptions | None = None, *, port: int = 0) -> None:
        self.options = options or StubOptions()
        self.faults: list[Fault] = []
        self.files: dict[str, tuple[int, str]] = {}
        self.names: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.most_under_way = 0
        self.busy = {stage: Busy() for stage in STAGES}
        self.states: dict[str, str] = dict.fromkeys(STAGES, "ready")
        self.url = ""
        self._port = port
        self._random = random.Random(self.options.seed)
        self._under_way: Counter[str] = Counter()
        self._slots = {stage: asyncio.Semaphore(self.options.capacity) for stage in STAGES}
        self._remembered: dict[str, tuple[str, asyncio.Future[bytes]]] = {}
        self._tasks: dict[str, asyncio.Future[bytes]] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "StubMachine":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if it was stopped."""
        app = web.Application(client_max_size=1 << 31)
        app.add_routes(
            [
                web.get("/livez", _alive),
                web.get("/readyz", _alive),
                web.get("/v1/status", self._status),
                web.put("/v1/files/{file_id}", self._put),
                web.head("/v1/files/{file_id}", self._head),
                web.delete("/v1/files/{file_id}", self._delete),
                web.get("/v1/tasks/{task_id}", self._task),
                web.post("/v1/stages/{stage}", self._stage),
                web.get("/stub/counters", self._counters),
                web.post("/stub/faults", self._set_faults),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def fail(self, target: str, kind: str, **details: Any) -> None:
        self.faults.append(Fault(target, kind, **details))

    def _fault_for(self, target: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.target in (target, "*"):
                fault.times -= 1
                return fault
        return None

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if self.options.api_key and request.headers.get("Authorization") != f"Bearer {self.options.api_key}":
            return problem(401, "unauthorized")
        return web.json_response(
            {
                "protocol": 1,
                "server": {"name": "stub", "version": "1"},
                "stages": {stage: self._stage_status(stage) for stage in STAGES},
                "files": {"count": len(self.files), "bytes": 0, "free_bytes": 1 << 40},
            }
        )

    def _stage_status(self, stage: str) -> dict[str, Any]:
        under_way, capacity = self._under_way[stage], self.options.capacity
        running = min(under_way, capacity)
        return {"state": self.states[stage], "capacity": capacity, "running": running, "queued": under_way - running}

    async def _put(self, request: web.Request) -> web.StreamResponse:
        self.requests["upload"] += 1
        file_id = request.match_info["file_id"]
        if not FILE_ID.fullmatch(file_id):
            return problem(400, "invalid_request")
        digest, size = hashlib.sha256(), 0
        if not request.headers.get("Content-Length"):
            return problem(400, "invalid_request")
        async for chunk in request.content.iter_chunked(1 << 20):
            digest.update(chunk)
            size += len(chunk)
        fault = self._fault_for("upload")
        if fault is not None:
            return await self._go_wrong(fault, request)
        sent = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        if request.headers.get("Content-Digest") != sent:
            return problem(422, "digest_mismatch")
        status = 200 if file_id in self.files else 201
        self.files[file_id] = (size, digest.hexdigest())
        self.names[file_id] = request.headers.get("X-File-Name", "")
        return web.json_response(
            {
                "file_id": file_id,
                "bytes": size,
                "sha256": digest.hexdigest(),
                "duration_s": self.options.duration_s,
            },
            status=status,
        )

    async def _head(self, request: web.Request) -> web.StreamResponse:
        self.requests["head"] += 1
        found = self.files.get(request.match_info["file_id"])
        if found is None:
            return web.Response(status=404)
        digest = base64.b64encode(bytes.fromhex(found[1])).decode()
        return web.Response(headers={"Content-Length": str(found[0]), "Content-Digest": f"sha-256=:{digest}:"})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        self.files.pop(request.match_info["file_id"], None)
        return web.Response(status=204)

    async def _stage(self, request: web.Request) -> web.StreamResponse:
        stage = request.match_info["stage"]
        key = request.headers.get("Idempotency-Key", "")
        self.requests[stage] += 1
        if self.options.api_key and request.headers.get("Authorization") != f"Bearer {self.options.api_key}":
            return problem(401, "unauthorized")
        if stage not in STAGES:
            return problem(404, "unknown_stage")
        raw = await request.read()
        body, print_of_body = json.loads(raw), hashlib.sha256(raw).hexdigest()
        fault = self._fault_for(stage)
        if fault is not None and fault.kind not in AFTER_THE_WORK:
            return await self._go_wrong(fault, request)
        if "file_id" in body and body["file_id"] not in self.files:
            return problem(404, "unknown_file")
        known = self._remembered.get(key)
        if known is not None:
            if known[0] != print_of_body:
                return problem(422, "invalid_request")
            if not known[1].done():
                return problem(409, "busy", retry_after=0.05)
            return web.Response(body=known[1].result(), content_type="application/json")
        waiting = self.options.capacity if self.options.queue is None else self.options.queue
        if self._under_way[stage] >= self.options.capacity + waiting:
            return problem(429, "busy", retry_after=0.05)
        work = asyncio.ensure_future(self._work(stage, key, body, fault))
        if fault is None or fault.kind == "lost":
            self._remembered[key] = (print_of_body, work)
        if fault is not None and fault.kind == "lost":
            await work
            return await self._go_wrong(fault, request)
        if self.options.answers_later:
            task_id = hashlib.sha256(key.encode()).hexdigest()[:16]
            self._tasks[task_id] = work
            return web.json_response({"state": "queued"}, status=202, headers={"Location": f"/v1/tasks/{task_id}"})
        return web.Response(body=await asyncio.shield(work), content_type="application/json")

    async def _task(self, request: web.Request) -> web.StreamResponse:
        work = self._tasks.get(request.match_info["task_id"])
        if work is None:
            return problem(404, "invalid_request")
        await asyncio.wait({work}, timeout=float(request.query.get("wait", 0.0)))
        if not work.done():
            return web.json_response({"state": "running"})
        return web.json_response({"state": "succeeded", "result": json.loads(work.result())})

    async def _work(self, stage: str, key: str, body: dict[str, Any], fault: Fault | None) -> bytes:
        self._under_way[stage] += 1
        self.most_under_way = max(self.most_under_way, self._under_way[stage])
        try:
            async with self._slots[stage]:
                self.runs[key] += 1
                began = time.monotonic()
                draw = self.options.seconds.get(stage)
                if draw is not None:
                    await asyncio.sleep(draw(self._random) * self.options.slow_factor)
                self.busy[stage].spans.append((began, time.monotonic()))
        finally:
            self._under_way[stage] -= 1
        answer = self._answer(stage, body)
        if fault is not None and fault.kind == "nonsense":
            answer = _nonsense(answer)
        elif fault is not None and fault.kind == "other_call":
            answer = {**answer, "duration_s": 2.0 * self.options.duration_s + 10.0}
        return json.dumps(answer).encode()

    def _answer(self, stage: str, body: dict[str, Any]) -> dict[str, Any]:
        engine = {"name": "stub", "model": "none", "version": "1"}
        duration_s = self.options.duration_s
        if stage == "lid":
            return {"language": self.options.language, "confidence": 0.9, "duration_s": duration_s, "candidates": []}
        if stage == "stt":
            step = duration_s / max(1, self.options.segments)
            return {
                "language": body.get("language") or self.options.language,
                "duration_s": duration_s,
                "segments": [
                    {
                        "start_s": round(number * step, 3),
                        "end_s": round((number + 0.9) * step, 3),
                        "speaker": str(number % 2),
                        "text": f"{body['file_id']} line {number}: {SAID}",
                        "confidence": 0.9,
                    }
                    for number in range(self.options.segments)
                ],
                "engine": engine,
            }
        first = body["call"]["segments"][0] if body["call"]["segments"] else None
        evidence = first and {
            "quote": first["text"],
            "segment": 0,
            "start_s": first["start_s"],
            "end_s": first["end_s"],
        }
        if stage == "llm1":
            trade = {"script_name": "RELIANCE", "buy_sell": "BUY", "quantity": 50, "trade_price": 2450}
            return {"trades": [{**trade, "evidence": evidence}] if evidence else [], "engine": engine}
        return {
            "answers": [
                {
                    "question_id": question["id"],
                    "answer": question["choices"][0],
                    "confidence": 0.8,
                    "evidence": evidence,
                }
                for question in body["questions"]
            ],
            "engine": engine,
        }

    async def _go_wrong(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault.kind == "hang":
            await asyncio.sleep(HANG_S)
        if fault.kind == "refuse":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault.kind in ("reset", "lost", "drip"):
            answer = web.StreamResponse(headers={"Content-Length": "1000"})
            await answer.prepare(request)
            await answer.write(b'{"half": ')
            for _ in range(900 if fault.kind == "drip" else 0):
                await asyncio.sleep(DRIP_S)
                await answer.write(b" ")
            assert request.transport is not None
            request.transport.abort()
            return answer
        if fault.kind == "forget":
            self.files.clear()
            return problem(404, "unknown_file")
        if fault.kind == "garbage":
            return web.json_response({"data": "ok"})
        if fault.kind == "html":
            return web.Response(text="<html>It works!</html>", content_type="text/html")
        if fault.kind == "echo":
            return web.Response(text=str(dict(request.headers)), status=fault.status)
        if fault.kind == "error_body":
            return web.json_response(
                {"language": "en", "confidence": 1.0, "duration_s": 1.0, "candidates": []}, status=fault.status
            )
        return problem(fault.status, fault.code, retry_after=fault.retry_after)

    async def _counters(self, request: web.Request) -> web.Response:
        """Counts; `?since=..&until=..` bounds the slot-seconds, by default the stage's own first and last start."""

        def busy(stage: str) -> dict[str, float]:
            first, last = self.busy[stage].starts
            since, until = (float(request.query.get(name, at)) for name, at in (("since", first), ("until", last)))
            return {
                "first_start": first,
                "last_start": last,
                "last_end": max((end for _, end in self.busy[stage].spans), default=0.0),
                "worked_s": self.busy[stage].worked_s(since, until),
            }

        return web.json_response(
            {
                "requests": self.requests,
                "runs": {"keys": len(self.runs), "repeated": sum(count > 1 for count in self.runs.values())},
                "capacity": self.options.capacity,
                "most_under_way": self.most_under_way,
                "busy": {stage: busy(stage) for stage in STAGES},
            }
        )

    async def _set_faults(self, request: web.Request) -> web.Response:
        self.faults = [Fault(**one) for one in await request.json()]
        return web.json_response({"faults": len(self.faults)})


async def _alive(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def problem(status: int, code: str, *, retry_after: float | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = {"type": "about:blank", "title": code, "status": status, "detail": f"stub says {code}", "code": code}
    return web.json_response(body, status=status, headers=headers, content_type="application/problem+json")


def _nonsense(answer: dict[str, Any]) -> dict[str, Any]:
    """The same schema with a meaning that cannot be."""
    if answer.get("segments"):
        return {**answer, "segments": list(reversed(answer["segments"]))}
    if "answers" in answer:
        return {**answer, "answers": [{**one, "answer": "MAYBE"} for one in answer["answers"]]}
    return {**answer, "duration_s": -1.0}


def seconds_from(text: str) -> Callable[[random.Random], float]:
    """`0.5` or `lognormal:MEDIAN,SIGMA` -> a function that draws seconds."""
    kind, _, parameters = text.partition(":")
    if kind == "lognormal":
        median, sigma = (float(part) for part in parameters.split(","))
        return lambda chance: median * chance.lognormvariate(0.0, sigma)
    fixed = float(text)
    return lambda _: fixed


async def _serve(options: StubOptions, port: int) -> None:
    async with StubMachine(options, port=port) as stub:
        print(stub.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stub GPU machine.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--capacity", type=int, default=8)
    parser.add_argument("--segments", type=int, default=50)
    parser.add_argument("--slow-factor", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    for stage in STAGES:
        parser.add_argument(f"--{stage}-seconds", type=seconds_from, default=None)
    chosen = parser.parse_args()
    drawn = {stage: getattr(chosen, f"{stage}_seconds") for stage in STAGES}
    options = StubOptions(
        capacity=chosen.capacity,
        segments=chosen.segments,
        slow_factor=chosen.slow_factor,
        seed=chosen.seed,
        seconds={stage: draw for stage, draw in drawn.items() if draw is not None},
    )
    asyncio.run(_serve(options, chosen.port))


if __name__ == "__main__":
    main()
