"""The compared servers: how to start each one, and how to request digits from it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from models.registry.store import GENERATOR, CheckpointStore

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Server:
    name: str
    command: tuple[str, ...]  # arguments of the interpreter; {port} is replaced
    request: Callable[[int, int], bytes]  # label, n -> bytes of the request
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.name == "ours"

    def interpreter(self, peers_python: str) -> str:
        return sys.executable if self.is_ours else peers_python

    def environment(self, home: Path, port: int, more: dict[str, str]) -> dict[str, str]:
        """Return the server's environment variables. Ours gets an address without a Redis: drawing needs none."""
        if self.is_ours:
            variables = {"HOME": str(home), "STORE": "", "DEVICE": "cpu", "REDIS_URL": "redis://127.0.0.1:1/0"}
            return {"PYTHONPATH": str(ROOT), **{f"ACGAN_{name}": value for name, value in variables.items()}}
        store = CheckpointStore(home / "checkpoints")
        latest = store.latest()
        assert latest is not None
        return {
            "PYTHONPATH": str(ROOT),
            "BENTOML_HOME": str(home / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "PEER_GENERATOR": str(store.folder(latest) / GENERATOR),
            "PEER_PORT": str(port),
            **self.settings,
            **more,
        }


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(path: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


def by_address(label: int, n: int) -> bytes:
    return get(f"/digits/{label}?n={n}")


def by_body(label: int, n: int) -> bytes:
    return post("/predict", {"label": label, "n": n})


def by_list(label: int, n: int) -> bytes:
    return post("/digits", {"orders": [[label, n]]})


HERE = ("--host", "127.0.0.1", "--port", "{port}")
OURS = ("-m", "app.cli", "serve", *HERE)
LITSERVE = ("-m", "benchmarks.peers.litserve_server")
BENTOML = (
    "-m",
    "bentoml",
    "serve",
    "benchmarks.peers.bentoml_server:Digits",
    "--host",
    "127.0.0.1",
    "--port",
    "{port}",
)
PLAIN = ("-m", "benchmarks.peers.plain_fastapi")

# The best settings that were tried: see README.md.
LITSERVE_BEST = {"PEER_WORKERS": "2", "PEER_THREADS": "1", "PEER_BATCH": "8", "PEER_WAIT": "0.001"}
BENTOML_BEST = {"PEER_WORKERS": "2", "PEER_THREADS": "1", "PEER_BATCH": "32"}

SERVERS = (
    Server("ours", OURS, by_address),
    Server("litserve", LITSERVE, by_body, LITSERVE_BEST),
    Server("litserve with our drawing", LITSERVE, by_body, {**LITSERVE_BEST, "PEER_DRAWING": "ours"}),
    Server("bentoml", BENTOML, by_list, BENTOML_BEST),
    Server("bentoml with our drawing", BENTOML, by_list, {**BENTOML_BEST, "PEER_DRAWING": "ours"}),
    Server("plain fastapi", PLAIN, by_address, {"PEER_PNG": "pillow"}),
)
