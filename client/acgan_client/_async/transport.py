"""Sends calls, with time limits and retries, and reads the responses of a server that is not trusted."""

import os
from types import TracebackType
from typing import Any, Self

import httpx2

from acgan_client import calls
from acgan_client.calls import Answer, Call
from acgan_client.connection import Route, complete
from acgan_client.deadlines import Deadline, async_reads_within, async_sleep, async_stream, limit_reads
from acgan_client.downloads import Arrival
from acgan_client.errors import Unreachable
from acgan_client.responses import PAUSE_SECONDS, RECORD_LIMIT, Body, check, in_a_sentence


class AsyncTransport:
    """A connection to one service."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = complete(url or os.environ.get("ACGAN_URL"))
        self.patience_seconds = patience_seconds
        self.route = Route(self.url)
        with in_a_sentence(self.route):
            self.http = httpx2.AsyncClient(
                base_url=self.url,
                headers=calls.headers(os.environ.get("ACGAN_KEY") if key is None else key),
                timeout=timeout_seconds,
                transport=transport,
                **self.route.options(),
            )
        limit_reads(self.http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.route.url!r})"

    async def close(self) -> None:
        await self.http.aclose()

    async def _send(self, call: Call[Answer]) -> Answer:
        deadline = Deadline(call.timeout_seconds)
        for left in reversed(range(calls.TRIES if call.repeatable else 1)):
            try:
                with in_a_sentence(self.route):
                    whole = await self._ask(call, deadline.left)
                    check(whole, self.route.by)
                    return call.read(whole)
            except Unreachable as error:
                is_hopeless = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ProxyError)
                if not left or is_hopeless or not deadline.allows(PAUSE_SECONDS):
                    raise
            await async_sleep(PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    async def _ask(self, call: Call[Any], seconds: float | None) -> httpx2.Response:
        async with (
            async_reads_within(seconds),
            async_stream(self.http, call.method, call.path, **call.options(seconds)) as response,
        ):
            return await self._read(response, call.limit)

    async def _read(self, response: httpx2.Response, limit: int = RECORD_LIMIT) -> httpx2.Response:
        body = Body(response, limit)
        if response.is_stream_consumed:  # by a mock transport
            body.take(response.content)
            return body.whole()
        async with async_reads_within(body.seconds):
            async for data in response.aiter_raw():
                body.take(data)
        return body.whole()

    async def _receive(self, path: str, arrival: Arrival, seconds: float | None = None, **query: str) -> None:
        """Receive a file piece by piece. After a lost connection, request the rest, up to twice.

        `seconds` limits each step of a request instead of the client's own timeout.
        """
        timeout = {} if seconds is None else {"timeout": seconds}
        for left in reversed(range(calls.TRIES)):
            try:
                with in_a_sentence(self.route):
                    await self._receive_once(path, arrival, {"params": query, **timeout})
                break
            except Unreachable as error:
                if not left or isinstance(error.__cause__, httpx2.ConnectError | httpx2.ProxyError):
                    raise
            await async_sleep(PAUSE_SECONDS)

    async def _receive_once(self, path: str, arrival: Arrival, options: dict[str, Any]) -> None:
        async with async_stream(self.http, "GET", path, headers=arrival.headers, **options) as response:
            arrival.expect(response)
            if response.status_code >= 300:
                check(await self._read(response), self.route.by)
            async with async_reads_within(arrival.seconds):
                async for data in response.aiter_raw():
                    arrival.take(data)
