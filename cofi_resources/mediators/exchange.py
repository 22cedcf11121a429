"""One HTTP exchange with a machine: the shared client, time and size bounds, and what a broken exchange means.

What belongs here: everything that is the same for all wire protocols. What does not: paths and bodies (`v1.py`),
trying again (`pool.py`).
*Decision:* httpx over the aiohttp transport. Five requests and 76 rows a call cost 2.6 ms of CPU so, against 10.1 ms
over httpx's own transport (architecture 3.7).
*Decision:* proxies of the environment are not used. GPU machines are on the local network, and a proxy set for the
internet must not see recordings. Certificates are checked against the system's trust store.
*Decision:* sockets send keep-alive probes. A machine that loses power while it works closes no connection; without
probes its requests would be given up only after their whole timeout, which for a long call is hours.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import SecretStr

from cofi_resources.errors import BadAnswer, ConfigError, MachineUnavailable, RequestTrace
from cofi_resources.mediators.faults import AnswerLost, NoAnswerInTime, NoConnection
from cofi_resources.mediators.options import PoolOptions

LONGEST_ANSWER_BYTES = 64 << 20
TRACE_CHARACTERS = 4000
MASK = "***"
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_PROBES = 30, 10, 3


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whatever its status, read to its end."""

    url: str
    status: int
    reason: str
    headers: httpx.Headers
    body: bytes
    shown: str


def open_client(options: PoolOptions, machines: Sequence[str]) -> httpx.AsyncClient:
    """A client for all machines of a pool, by URL; close it with `aclose()`."""
    connections = options.connections_per_machine * len(machines)
    # Loading the trust store takes some 20 ms, and plain http has no use for it.
    encrypted = any(machine.startswith("https:") for machine in machines)
    tls = ssl.create_default_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections,
                ssl=tls,
                keepalive_timeout=30.0,
                socket_factory=_socket_with_keepalive,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    return httpx.AsyncClient(
        transport=AiohttpTransport(client=session, verify=tls, trust_env=False),
        trust_env=False,
    )


class MachineHttp:
    """Requests to one machine. Holds the key, and keeps it out of every trace."""

    def __init__(
        self, url: str, client: httpx.AsyncClient, options: PoolOptions, api_key: SecretStr | None = None
    ) -> None:
        if "@" in urlsplit(url).netloc:
            # The address is shown in messages, tables and on Dagster's page.
            raise ConfigError("GPU_MACHINES: a user and password do not belong in a URL; use MEDIATOR_API_KEY")
        self.url = url
        self.options = options
        self._client = client
        self._key = api_key.get_secret_value() if api_key else ""
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "cofi"}
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._extensions = {"timeout": {"connect": options.connect_s}}

    async def send(
        self,
        method: str,
        path: str,
        *,
        about: str,
        timeout_s: float,
        shown: str = "",
        content: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send and read the whole answer within `timeout_s`.

        `about` begins every message (what the request is for), `shown` stands for the payload in traces.
        Raises NoConnection, AnswerLost, NoAnswerInTime, MachineUnavailable; BadAnswer for an endless answer.
        """
        url = f"{self.url}{path}"
        trace = RequestTrace(url, shortened(shown))
        request = httpx.Request(
            method,
            url,
            content=content,  # type: ignore[arg-type]
            headers=self._headers | (headers or {}),
            extensions=self._extensions,
        )
        try:
            # Bounds the whole exchange: a machine that drips a byte a minute never runs into a read timeout.
            async with asyncio.timeout(timeout_s):
                response = await self._client.send(request, stream=True)
                try:
                    body = await _read_bounded(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise NoAnswerInTime(f"{about}: {url} gave no answer within {timeout_s:g} s", trace=trace) from error
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise _broken(f"{about}: {url}", error, trace) from error
        if body is None:
            raise BadAnswer(f"{about}: {url} answered with more than {LONGEST_ANSWER_BYTES} bytes", trace=trace)
        return Answer(url, response.status_code, response.reason_phrase, response.headers, body, shown)

    def trace(self, answer: Answer) -> RequestTrace:
        """The exchange, shortened, as a failure keeps it."""
        # Some more bytes than are shown, so that no part of a key is left at the cut.
        text = answer.body[: 5 * TRACE_CHARACTERS].decode("utf-8", errors="replace")
        return RequestTrace(answer.url, shortened(answer.shown), shortened(self.masked(text)))

    def masked(self, text: str) -> str:
        """The text without the key, should a machine have sent it back."""
        return text.replace(self._key, MASK) if self._key else text


def shortened(text: str) -> str:
    return text if len(text) <= TRACE_CHARACTERS else f"{text[:TRACE_CHARACTERS]}... (shortened)"


async def _read_bounded(response: httpx.Response) -> bytes | None:
    """The whole body, or None if it is longer than any answer can be."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LONGEST_ANSWER_BYTES:
            return None
    return bytes(body)


def _broken(what: str, error: Exception, trace: RequestTrace) -> MachineUnavailable:
    """What a broken exchange means: did the request reach the machine?

    The transport reports a connection lost under way as `ConnectTimeout`; its cause tells the two apart.
    """
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    said = str(error) or str(cause) or type(cause).__name__
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | httpx.ConnectError):
        return NoConnection(f"{what} cannot be reached: {said}", trace=trace)
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return NoAnswerInTime(f"{what} gave no answer: {said}", trace=trace)
    return AnswerLost(f"{what} broke off: {said}", trace=trace)


def _socket_with_keepalive(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
