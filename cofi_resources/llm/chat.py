"""One question to an OpenAI-compatible server, answered as JSON of a given schema, or a failure that says why not.

What belongs here: the HTTP exchange, its retries, and what its failures mean. What does not: prompts, calls
(`openai.py`).
Decision: httpx over the aiohttp transport, as in the mediator pool (architecture 3.7). Proxies of the environment are
not used. The key (or the user and password in the base URL, where there is no key) stands in a header alone, and is
taken out of whatever the server says before that is put in a message.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from cofi_resources.errors import (
    BadAnswer,
    ConfigError,
    MachineBusy,
    MachineUnavailable,
    PermanentError,
    RequestTrace,
    TransientError,
)

TRACE_CHARS = 4000


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How patient a chat is. Durations are seconds; `request_s` bounds one whole exchange.

    On a CPU the first answer about a long call takes most of a minute, and may wait for another call's.
    """

    request_s: float = 300.0
    connect_s: float = 5.0
    attempts: int = 5
    bad_answers: int = 2
    backoff_s: float = 0.5
    longest_backoff_s: float = 20.0
    longest_retry_after_s: float = 120.0


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    choices: list[_Choice]


class ChatServer:
    """A chat-completions server. Close it with `aclose()`."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: SecretStr | None = None,
        *,
        options: ChatOptions | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.url = without_credentials(f"{base_url.rstrip('/')}/chat/completions")
        self.model = model
        self._key = api_key.get_secret_value() if api_key else ""
        split = urlsplit(base_url)
        self._login = (unquote(split.username or ""), unquote(split.password or ""))
        self._options = options or ChatOptions()
        self._sleep, self._chance = sleep, chance
        self._client: httpx.AsyncClient | None = None

    async def ask(
        self, messages: list[dict[str, str]], schema: Mapping[str, Any], *, max_tokens: int, key: str
    ) -> dict[str, Any]:
        """The answer as a JSON object. Temperature 0; `key` goes along as the request's id.

        Transport errors, 5xx, 408 and 429 are retried with jitter, after Retry-After where it is given; a refusal, an
        empty, cut-off or unreadable answer is asked for once more. Then they are raised: MachineUnavailable,
        MachineBusy, BadAnswer. ConfigError for a key or a model that is refused, PermanentError for other 4xx.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            },
        }
        failures = bad_answers = 0
        while True:
            try:
                return self._read(await self._post(body, key), body)
            except BadAnswer:
                bad_answers += 1
                if bad_answers >= self._options.bad_answers:
                    raise
            except TransientError as error:
                failures += 1
                if failures >= self._options.attempts:
                    raise
                await self._sleep(self._wait_s(failures, error.retry_after_s))

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _wait_s(self, failures: int, retry_after_s: float | None) -> float:
        backoff_s = min(self._options.longest_backoff_s, self._options.backoff_s * 2 ** (failures - 1))
        return (retry_after_s or 0.0) + self._chance() * backoff_s

    def _open(self) -> httpx.AsyncClient:
        # Opened on first use: the transport belongs to the event loop it is opened in.
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=AiohttpTransport(limits=httpx.Limits(max_connections=None), trust_env=False),
                auth=httpx.BasicAuth(*self._login) if any(self._login) and not self._key else None,
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=httpx.Timeout(None, connect=self._options.connect_s),
                trust_env=False,
            )
        return self._client

    async def _post(self, body: Mapping[str, Any], key: str) -> httpx.Response:
        trace = self._trace(body)
        try:
            async with asyncio.timeout(self._options.request_s):
                answer = await self._open().post(self.url, json=body, headers={"X-Request-Id": key})
        except TimeoutError:
            raise MachineUnavailable(
                f"{self.url} gave no answer within {self._options.request_s:g} s", trace=trace
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            said = self._clean(str(error)) or type(error).__name__
            raise MachineUnavailable(f"{self.url} cannot be reached: {said}", trace=trace) from error
        if answer.is_success:
            return answer
        raise self._failure(answer, self._trace(body, answer.text))

    def _failure(self, answer: httpx.Response, trace: RequestTrace) -> Exception:
        said = f"{self.url}: {answer.status_code}: {self._clean(answer.text)[:300] or answer.reason_phrase}"
        match answer.status_code:
            case 401 | 403:
                return ConfigError(f"{said}: set LLM_API_KEY to the key this server asks for", trace=trace)
            case 404:
                return ConfigError(f"{said}: check LLM_BASE_URL (with its /v1) and LLM_MODEL", trace=trace)
            case 429 | 503:
                return MachineBusy(said, retry_after_s=self._retry_after_s(answer), trace=trace)
            case 408:
                return MachineUnavailable(said, retry_after_s=self._retry_after_s(answer), trace=trace)
            case status if status < 500:
                return PermanentError(
                    f"{said}: if the text is too long for it, LLM_CONTEXT_TOKENS is over the server's context",
                    trace=trace,
                )
        return MachineUnavailable(said, retry_after_s=self._retry_after_s(answer), trace=trace)

    def _retry_after_s(self, answer: httpx.Response) -> float | None:
        try:
            wait_s = float(answer.headers.get("Retry-After", ""))
        except ValueError:
            return None
        return min(max(wait_s, 0.0), self._options.longest_retry_after_s) if wait_s == wait_s else None

    def _read(self, answer: httpx.Response, body: Mapping[str, Any]) -> dict[str, Any]:
        trace = self._trace(body, answer.text)
        try:
            completion = _Completion.model_validate_json(answer.content)
        except ValidationError:
            raise BadAnswer(f"{self.url} answered with something that is no chat completion", trace=trace) from None
        if not completion.choices:
            raise BadAnswer(f"{self.url} gave no answer", trace=trace)
        choice = completion.choices[0]
        if choice.message.refusal:
            raise BadAnswer(f"{self.url}: {self.model} refused: {choice.message.refusal[:200]}", trace=trace)
        if choice.finish_reason == "length":
            raise BadAnswer(f"{self.url}: {self.model} ran out of tokens before its answer ended", trace=trace)
        if choice.finish_reason == "content_filter":
            raise BadAnswer(f"{self.url}: the answer of {self.model} was withheld by a filter", trace=trace)
        try:
            content = json.loads(choice.message.content or "")
        except ValueError:
            raise BadAnswer(f"{self.url}: the answer of {self.model} is empty or no JSON", trace=trace) from None
        if not isinstance(content, dict):
            raise BadAnswer(f"{self.url}: the answer of {self.model} is no JSON object", trace=trace)
        return content

    def _trace(self, body: Mapping[str, Any], response: str = "") -> RequestTrace:
        # The end of a request holds the question, its beginning the instructions that all of them share.
        payload = json.dumps({"model": self.model, "messages": body["messages"][1:]}, ensure_ascii=False)
        return RequestTrace(self.url, self._clean(payload)[-TRACE_CHARS:], self._clean(response)[:TRACE_CHARS])

    def _clean(self, text: str) -> str:
        for secret in (self._key, self._login[1]):
            text = text.replace(secret, "***") if secret else text
        return text


def without_credentials(url: str) -> str:
    """The URL without user and password, and without a query."""
    split = urlsplit(url)
    return urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))
