"""Limits on the size and duration of requests of each connection, which uvicorn does not have.

Connections that the server waits for are in one queue, in the order in which the wait began. A check of its first
entries every half second finds all connections that took too long. When the maximum number of connections is
reached, the server closes the one that it has waited for longest. A connection whose request is being processed is not
in the queue.
"""

import asyncio
from enum import Enum, auto
from functools import partial
from typing import Any, NamedTuple

import httptools
from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app import metrics
from app.middleware.body_limit import ADMIT, is_upload
from app.middleware.request_log import PATH, logger
from app.problems.problem import answer
from app.problems.refusals import TOO_LONG
from app.problems.validation_messages import shown
from app.settings import Bounds

STATUS = slice(9, 12)  # position of the status in the first line of a response
MALFORMED = "This is not a valid HTTP/1.1 request with exactly one Host. GET /docs describes the API."
UPGRADE = "A request with a body cannot request an upgrade to another protocol."
VERSIONS = ("1.0", "1.1")
CHUNKED_OVERHEAD = 8  # maximum bytes on the wire per byte of a body: a chunk of one byte takes six


class Phase(Enum):
    IDLE = auto()  # no byte of a request has arrived
    HEAD = auto()
    BODY = auto()
    RECEIVED = auto()


class ErrorResponses(NamedTuple):
    """The encoded error responses to malformed, large and slow requests."""

    malformed: bytes
    late: bytes
    long_body: bytes
    long_head: bytes
    upgrade: bytes
    crowded: bytes

    @classmethod
    def of(cls, bounds: Bounds) -> "ErrorResponses":
        seconds = f"{bounds.request_seconds:g}"
        head = f"at most {bounds.headers} headers, and {bounds.header_bytes} bytes with the request line"
        return cls(
            malformed=on_the_wire(answer("malformed-request", MALFORMED)),
            late=on_the_wire(answer("request-timeout", f"the request took more than {seconds} seconds to arrive")),
            long_body=on_the_wire(answer("body-too-long", TOO_LONG)),
            long_head=on_the_wire(answer("headers-too-long", f"the headers are too many or too long: send {head}")),
            upgrade=on_the_wire(answer("malformed-request", UPGRADE)),
            crowded=on_the_wire(answer("too-many-connections", "the service has too many connections: retry later")),
        )


def on_the_wire(response: Response) -> bytes:
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = [name + b": " + value + b"\r\n" for name, value in headers]
    return STATUS_LINE[response.status_code] + b"".join(lines) + b"\r\n" + bytes(response.body)


class Refused(Exception):
    """Raised by a callback of the parser to close the connection with the response `self.refusal`."""


class WaitQueue:
    """The queue of connections that the server waits for, with the time at which the wait began, oldest first."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.refusals = ErrorResponses.of(bounds)
        self.waiting: dict[BoundedProtocol, float] = {}

    def look(self, connections: "set[Any]") -> None:
        """Refuse connections that took too long, and drop those that do not read their response."""
        now = asyncio.get_running_loop().time()
        while self.waiting:
            first, since = next(iter(self.waiting.items()))
            if now - since < self.bounds.request_seconds:
                break
            first.be_late()
        for connection in list(connections):
            connection.check_taken(now)

    def make_room(self, for_whom: "BoundedProtocol") -> bool:
        for waited_for in self.waiting:
            if waited_for is not for_whom and not waited_for.is_answered():
                waited_for.make_way()
                return True
        return False


class CoalescingTransport:
    """A transport that joins the writes of one iteration of the event loop, such as a response's headers and body."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.loop = loop
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self.pieces:
            self.loop.call_soon(self.send)
        self.pieces.append(data)

    def send(self) -> None:
        if self.pieces:
            self.transport.writelines(self.pieces)
            self.pieces = []

    def close(self) -> None:
        self.send()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits. `Upgrade` is ignored: the request gets a normal response."""

    def __init__(self, *args: Any, line: WaitQueue, **options: Any) -> None:
        super().__init__(*args, **options)
        self.line = line
        self.phase = Phase.IDLE
        self.refusal = line.refusals.malformed
        self.piece = 0  # bytes of the last chunk received
        self.surely = self.at_most = 0  # lower and upper bound on the bytes of these headers, or of this body
        self.body_bytes = line.bounds.body_bytes  # maximum size of this body
        self.messages = 0
        self.answering: RequestResponseCycle | None = None
        self.unsent = 0
        self.unsent_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(CoalescingTransport(transport, self.loop))  # type: ignore[arg-type]
        self._wait()
        if len(self.connections) > self.line.bounds.connections and not self.line.make_room(self):
            self._refuse(self.line.refusals.crowded)

    def connection_lost(self, exc: Exception | None) -> None:
        self.line.waiting.pop(self, None)
        if self.answering is not None:  # if requests are pipelined, uvicorn notifies only the last one
            self.answering.disconnected = True
            self.answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self.piece = len(data)
        self.surely += self.piece
        self.at_most += self.piece
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._refuse(self.refusal)
        else:
            bounds, refusals = self.line.bounds, self.line.refusals
            trails = self.phase is Phase.BODY and len(self.headers) > bounds.headers
            if trails or (self.phase is Phase.HEAD and self.surely > bounds.header_bytes):
                self._refuse(refusals.long_head)
            elif self.phase is Phase.BODY and self.surely > bounds.header_bytes + CHUNKED_OVERHEAD * self.body_bytes:
                self._refuse(refusals.long_body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.phase = Phase.HEAD
        self.messages += 1
        self.surely, self.at_most = 0, self.piece
        self._wait()

    def on_headers_complete(self) -> None:
        if len(self.headers) > self.line.bounds.headers or (
            self.at_most > self.line.bounds.header_bytes and self._head_bytes() > self.line.bounds.header_bytes
        ):
            self.refusal = self.line.refusals.long_head
            raise Refused
        if self.parser.get_http_version() not in VERSIONS or not self._names_its_host():
            self.refusal = self.line.refusals.malformed
            raise Refused
        if self.parser.should_upgrade() and self._has_body():  # the parser would read the body as the next request
            self.refusal = self.line.refusals.upgrade
            raise Refused
        super().on_headers_complete()
        self._expect_body()
        self.phase = Phase.BODY
        self.surely = 0
        self.headers = []  # receives the trailers of a chunked body, which must not reach the routes
        self._wait()

    def _expect_body(self) -> None:
        """Set the limit of the body. Until a route admits a file, flow control stops it after a few pieces.

        Of a file that is refused, the rest is read and ignored, so that the client receives the response.
        """
        bounds = self.line.bounds
        self.body_bytes = bounds.body_bytes
        if is_upload(self.scope["method"], self.scope["path"]):
            self.body_bytes = bounds.upload_bytes
            self.scope[ADMIT] = partial(self._admit_body, self.messages)  # type: ignore[literal-required]
            if self.expect_100_continue:  # a client that is refused sends no body: the next request would be read as it
                self.cycle.keep_alive = False

    def _admit_body(self, message: int) -> None:
        """End the time limit of a body: until the response, the application limits the time between its pieces."""
        if self.phase is Phase.BODY and self.messages == message:
            self.line.waiting.pop(self, None)

    def on_message_complete(self) -> None:
        self.phase = Phase.RECEIVED
        self.line.waiting.pop(self, None)
        super().on_message_complete()
        self._rest()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.phase is Phase.BODY and self not in self.line.waiting and not self.transport.is_closing():
            self._wait()
        self._rest()

    def _rest(self) -> None:
        """Wait for the next request if this one has been received and its response sent, in either order."""
        if self.phase is Phase.RECEIVED and self.cycle.response_complete and not self.transport.is_closing():
            self.phase = Phase.IDLE
            self._wait()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _names_its_host(self) -> bool:
        """Return whether there is exactly one `Host`, equal to that of an absolute URL in the request line."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 or self.url[:1] in (b"/", b"*"):
            return len(hosts) == 1
        return self.url.partition(b"://")[2].partition(b"/")[0].lower() == hosts[0].strip().lower()

    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    def _wait(self) -> None:
        """Move to the end of the queue."""
        self.line.waiting.pop(self, None)
        self.line.waiting[self] = self.loop.time()

    def is_answered(self) -> bool:
        """Return whether a response to an earlier request is in progress; the connection is then not idle."""
        return bool(self.pipeline) or (
            self.phase is Phase.HEAD and self.cycle is not None and not self.cycle.response_complete
        )

    def be_late(self) -> None:
        if self.is_answered() or self.flow.read_paused:  # the server, not the client, causes the wait
            self._wait()
        elif self.phase is Phase.IDLE:
            self.leave()
        else:
            self._refuse(self.line.refusals.late)

    def make_way(self) -> None:
        """Close this connection in favour of another. If its first request may be in transit, send the reason."""
        if self.cycle is None or self.phase is not Phase.IDLE:
            self._refuse(self.line.refusals.crowded)
        else:
            self.leave()

    def leave(self) -> None:
        self.line.waiting.pop(self, None)
        self.connections.discard(self)
        self.transport.close()

    def _refuse(self, answer: bytes) -> None:
        """Send `answer` unless another response has begun, and close the connection."""
        cycle = self.cycle
        begun = cycle is not None and cycle.response_started
        over = cycle is not None and cycle.response_complete and self.phase is not Phase.BODY
        if not self.transport.is_closing() and not self.pipeline and (over or not begun):
            self.transport.write(answer)
            self._log_refusal(answer[STATUS].decode())
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.leave()

    def _log_refusal(self, status: str) -> None:
        metrics.REFUSED[status].inc()
        path = shown(self.url.partition(b"?")[0].decode("latin-1"), PATH) if self.phase is not Phase.IDLE else ""
        peer = str(self.client[0]) if self.client else "unknown"
        logger.warning("connection refused: %s", status, extra={"status": int(status), "peer": peer, "path": path})

    def check_taken(self, now: float) -> None:
        """Drop the connection if the client has read nothing of the response for too long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self.unsent:
            self.unsent_since = now
        self.unsent = unsent
        if unsent and now - self.unsent_since >= self.line.bounds.send_seconds:
            self.transport.abort()
