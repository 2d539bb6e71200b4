"""A real S3 endpoint: moto's server on its own port, which handles requests one by one, as S3 orders them; with faults.

refuse   503, and the request is not carried out
lose     the request is carried out, and the response is 503
hang     the request is not carried out, and gets no response while a client waits for it
tear     the request is read in part, or its response is sent in part, and the connection is cut
hold     the request is carried out when the test releases it, and not before
slow     the request is carried out after a delay
cut      the request is not carried out, and the connection is cut
"""

import io
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
from werkzeug.serving import WSGIRequestHandler, make_server

from models.registry.storage.cache import Cache
from models.registry.storage.object_store import ObjectStorage
from models.registry.storage.obstore_errors import connect
from models.registry.store import CheckpointStore

Kind = Literal["refuse", "lose", "hang", "tear", "hold", "slow", "cut"]
BUCKET = "digits"
SECONDS = 2.0  # for a request that a test lets fail
PATIENT_SECONDS = 30.0  # for any other: a busy machine takes longer than those two
SLOW_SECONDS = 0.3
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_REGION": "us-east-1"}


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


@dataclass
class Fault:
    """The fault of the next `times` requests with this method whose path contains `part`."""

    kind: Kind
    method: str = ""
    part: str = ""
    times: int = 10**9
    skip: int = 0  # number of requests before the first fault
    every: int = 1  # one fault in this many requests
    met: int = 0
    happened: int = 0
    began: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def concerns(self, environ: dict[str, Any]) -> bool:
        hit = self.method in ("", environ["REQUEST_METHOD"]) and self.part in environ["PATH_INFO"]
        if hit and self.skip:
            self.skip -= 1
            return False
        self.met += hit
        return hit and self.happened < self.times and self.met % self.every == 0


class Endpoint:
    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # takes a while

        self.app: Any = DomainDispatcherApplication(create_backend_app)
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self._one = threading.Lock()
        self._over = threading.Event()
        self.servers: list[Any] = []
        self.port = self.listen(0)
        self.url = f"http://127.0.0.1:{self.port}"
        httpx2.put(f"{self.url}/{BUCKET}").raise_for_status()

    def listen(self, port: int, listener: socket.socket | None = None) -> int:
        """Serve at one more address: a port of this machine, or an existing listener. Returns the port."""
        given = None if listener is None else listener.fileno()
        server = make_server("127.0.0.1", port, self.serve, threaded=True, request_handler=Quiet, fd=given)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)
        return int(server.port)

    @property
    def environment(self) -> dict[str, str]:
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    def address(self) -> str:
        """A new, empty location."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"

    def close(self) -> None:
        self._over.set()
        for server in self.servers:
            self.stop_server(server)

    @contextmanager
    def serve_also(self, listener: socket.socket) -> Iterator[None]:
        """Serve the connections of an existing listener too."""
        self.listen(0, listener)
        try:
            yield
        finally:
            self.stop_server(self.servers.pop())

    def stop_server(self, server: Any) -> None:
        server.shutdown()
        server.server_close()

    @contextmanager
    def gone(self) -> Iterator[None]:
        """The endpoint stops listening, and open connections are cut. Its objects stay."""
        with self.fault("cut"):
            self.stop_server(self.servers.pop(0))
            try:
                yield
            finally:
                self.listen(self.port)

    @contextmanager
    def fault(
        self, kind: Kind, method: str = "", part: str = "", times: int = 10**9, skip: int = 0, every: int = 1
    ) -> Iterator[Fault]:
        fault = Fault(kind, method, part, times, skip, every)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)
            fault.released.set()

    def serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        fault = next((fault for fault in self.faults if fault.concerns(environ)), None)
        if fault is None:
            return self.answer(environ, start)
        fault.happened += 1
        fault.began.set()
        if fault.kind != "tear":
            environ = {**environ, "wsgi.input": io.BytesIO(body(environ))}
        match fault.kind:
            case "refuse":
                return unavailable(start)
            case "lose":
                self.answer(environ, lambda *_: None)
                return unavailable(start)
            case "hang":
                self._over.wait(3 * SECONDS)
                return cut(environ)
            case "tear":
                return self.tear(environ, start)
            case "hold":
                fault.released.wait(60)
                return self.answer(environ, start)
            case "slow":
                self._over.wait(SLOW_SECONDS)
                return self.answer(environ, start)
            case "cut":
                return cut(environ)

    def tear(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            return cut(environ)
        whole = b"".join(self.answer(environ, start))
        return half(environ, whole)

    def answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        with self._one:
            return list(self.app(environ, start))


def body(environ: dict[str, Any]) -> bytes:
    data: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return data


def unavailable(start: Callable[..., Any]) -> list[bytes]:
    start("503 Slow Down", [("Content-Length", "0"), ("Connection", "close")])
    return [b""]


def half(environ: dict[str, Any], whole: bytes) -> Iterator[bytes]:
    yield whole[: len(whole) // 2]
    yield from cut(environ)


def cut(environ: dict[str, Any]) -> list[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return []


@contextmanager
def in_haste(store: CheckpointStore, address: str) -> Iterator[None]:
    """Inside the block, a request of the store that fails is given up after SECONDS."""
    assert isinstance(store.storage, ObjectStorage)
    patient = store.storage.objects
    store.storage.objects = connect(address, SECONDS)
    try:
        yield
    finally:
        store.storage.objects = patient


def open_store(address: str, folder: Path, cache: int = 10**8, seconds: float = SECONDS) -> CheckpointStore:
    """A store over the endpoint that the environment names."""
    storage = ObjectStorage.connect(address, seconds, Cache(folder / "cache", cache), folder / "workshops")
    return CheckpointStore(storage)
