"""A server that sends a test's responses, well formed or not, over real sockets."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.schemas.jobs import JobView
from models.config import TrainingConfig
from models.synthesis.order import DatasetFile, DatasetManifest, DatasetOrder
from worker.jobs.model import Job, JobStatus

JOB_ID = "20260131-120000-00001c"
EVIL = "a\x1b[31m[/]\n\x9b2J\u202eb\x7f"
IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"
PIECE = b"0" * 65536

Answer = bytes | Iterator[bytes]


def http(body: bytes, status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    lines = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def endless(status: str = "200 OK", kind: str = "application/json", piece: bytes = PIECE) -> Iterator[bytes]:
    """A response without an end."""
    yield f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    while True:
        yield piece


class Hostile:
    """Responses by path; `requests` are the received heads, and `sent` counts the bytes sent."""

    def __init__(self, answers: Mapping[str, Answer | Callable[[], Answer]]) -> None:
        self.answers = answers
        self.requests: list[str] = []
        self.sent = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while not head.startswith(b"\x16") and b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                head += piece
            if head.startswith(b"\x16"):  # TLS
                connection.sendall(http(b"", "400 Bad Request"))
                return
            self.requests.append(head.decode(errors="replace"))
            response = self.answers.get(head.split(b" ")[1].decode().partition("?")[0], http(b"{}", "404 Not Found"))
            response = response() if callable(response) else response
            for data in [response] if isinstance(response, bytes) else response:
                connection.sendall(data)
                self.sent += len(data)


@contextmanager
def hostile(answers: Mapping[str, Answer | Callable[[], Answer]]) -> Iterator[Hostile]:
    server = Hostile(answers)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown(socket.SHUT_RDWR)
        server.server.close()
        thread.join(10)


# ----------------------------------------------------------------------------
# Records as a real service writes them.


def job(**changes: Any) -> dict[str, Any]:
    config = TrainingConfig(epochs=1)
    record = Job(id=JOB_ID, status=JobStatus.SUCCEEDED, config=config, created_at=datetime.now(UTC))
    return {**JobView.of(record).model_dump(mode="json"), **changes}


def record(data: bytes, **changes: Any) -> dict[str, Any]:
    file = DatasetFile(
        sha256=sha256(data).hexdigest(), size=len(data), unpacked_sha256="0" * 64, examples=10, first_index=0
    )
    return {**file.model_dump(), **changes}


def manifest(files: Mapping[str, Any], **order: Any) -> dict[str, Any]:
    described = DatasetManifest(
        generator_sha256="0" * 64,
        device="cpu",
        code_version="test",
        order=DatasetOrder(**{"per_class": 1, "test_per_class": 1, **order}),
        created_at=datetime.now(UTC),
        files={},
    )
    return {**described.model_dump(mode="json"), "files": dict(files)}


def dataset(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "id": JOB_ID,
        "status": "succeeded",
        "order": DatasetOrder(per_class=1, test_per_class=1).model_dump(mode="json"),
        "created_at": now,
        "started_at": now,
        "ended_at": now,
        "progress": None,
        "error": None,
        "links": {"self": "/", "job": "/", "events": "/", "checkpoint": "/"},
        "files": {},
        **changes,
    }


def evaluation(**changes: Any) -> dict[str, Any]:
    return {
        "id": JOB_ID,
        "status": "queued",
        "checkpoint": "pretrained-e048",
        "effort": "full",
        "created_at": datetime.now(UTC).isoformat(),
        **dict.fromkeys(("started_at", "ended_at", "progress", "error", "result")),
        "links": {"self": "/", "job": "/", "events": "/", "checkpoint": "/", "result": None, "picture": None},
        **changes,
    }


def as_json(value: Any) -> bytes:
    return http(json.dumps(value).encode())


def problem(status: int, detail: Any, errors: Any = None, kind: Any = "about:blank", **headers: str) -> bytes:
    body = {"type": kind, "title": "No", "status": status, "detail": detail, "errors": errors}
    return http(json.dumps(body).encode(), f"{status} No", "application/problem+json", **headers)
