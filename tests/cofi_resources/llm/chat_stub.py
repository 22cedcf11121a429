"""A small chat-completions server on loopback, for tests of the back end that speaks to one."""

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = Callable[[dict[str, Any]], Any]


def completion(content: object, finish_reason: str = "stop", **message: object) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"choices": [{"message": {"content": text, **message}, "finish_reason": finish_reason}]}


class ChatStub:
    """Answers with `script`, one entry a request, and then with what `answer` makes of the request.

    An entry is a `web.Response`, a dict (sent as JSON), or a coroutine function that makes either.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.script: list[Any] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.under_way = self.most_under_way = 0
        self.stopping = asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        self._server = TestServer(app)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}/v1"

    async def start(self) -> None:
        await self._server.start_server()

    async def hang(self, _: web.Request) -> web.Response:
        """An entry of `script`: no answer as long as the server runs."""
        await self.stopping.wait()
        return web.Response(status=503)

    async def stop(self) -> None:
        self.stopping.set()
        await self._server.close()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(request.headers)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            reply = self.script.pop(0) if self.script else completion(self.answer(body))
            if inspect.iscoroutinefunction(reply):
                reply = await reply(request)
            return _fresh(reply) if isinstance(reply, web.Response) else web.json_response(reply)
        finally:
            self.under_way -= 1


def _fresh(reply: web.Response) -> web.Response:
    """A copy: a response object that was sent once is not sent again."""
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


def schema_of(body: dict[str, Any]) -> dict[str, Any]:
    return body["response_format"]["json_schema"]["schema"]["properties"]
