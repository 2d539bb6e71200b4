"""Sends malformed and oversized requests to a real `acgan serve`, and measures how long `/livez` takes meanwhile."""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
REQUEST_SECONDS = 30.0
PAUSE_SECONDS = 0.01  # between two requests for /livez


class LoadFigures(NamedTuple):
    statuses: Counter[int]  # 0 for a connection that ended without a response
    livez_seconds: list[float]
    livez_failures: int

    @property
    def server_errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 500)

    def percentile(self, percent: int) -> float:
        """Seconds."""
        return statistics.quantiles(self.livez_seconds, n=100)[percent - 1]


def post(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\n".encode() + JSON + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str, headers: bytes = b"") -> bytes:
    return f"GET {path} HTTP/1.1\r\n".encode() + HOST + headers + b"\r\n"


REQUESTS: dict[str, bytes] = {
    "thousands of parameters": get("/digits?" + "&".join(f"a{number}=1" for number in range(1000))),
    "a long parameter": get("/digits/7?seed=" + "9" * 12_000),
    "a long request line": get("/" + "a" * 100_000),
    "many headers": get("/livez", b"".join(b"X-%d: 1\r\n" % number for number in range(500))),
    "a long header": get("/livez", b"X: " + b"a" * 100_000 + b"\r\n"),
    "thousands of members": post("/train", b"{" + b",".join(b'"a%d":1' % number for number in range(5000)) + b"}"),
    "deep JSON": post("/train", b"[" * 30_000),
    "no JSON": post("/datasets", b"\x00\xff" * 10_000),
    "a large body": post("/train", b'{"name": "' + b"a" * 500_000 + b'"}'),
    "a large integer": post("/train", b'{"epochs": ' + b"9" * 5000 + b"}"),
    "text that is not UTF-8": post("/train", b'{"name": "\xff\xfe"}'),
    "two lengths": b"POST /train HTTP/1.1\r\n" + JSON + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a length that is none": b"POST /train HTTP/1.1\r\n" + JSON + b"Content-Length: -1\r\n\r\n",
    "a chunk that is none": b"POST /train HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "no HTTP": b"\x16\x03\x01" + bytes(200) + b"\r\n\r\n",
    "a path with escapes": get("/jobs/%00%ff%2e%2e%2f"),
    "an unknown method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
}


async def ask(port: int, request: bytes) -> int:
    """Send a request on a separate connection. Returns the status, or 0 if the connection ended without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
        with suppress(ConnectionError):
            words = (await asyncio.wait_for(reader.readline(), REQUEST_SECONDS)).split()
            return int(words[1]) if len(words) > 1 else 0
        return 0
    finally:
        writer.close()


async def attack(port: int, number: int, callers: int) -> LoadFigures:
    """Send `number` requests of all kinds from `callers` at once. Raises TimeoutError if one gets no response."""
    requests = list(REQUESTS.values())
    waiting = iter(range(number))
    statuses = Counter[int]()
    seconds, failures, done = list[float](), 0, asyncio.Event()

    async def call() -> None:
        for place in waiting:
            statuses[await ask(port, requests[place % len(requests)])] += 1

    async def watch() -> None:
        nonlocal failures
        while not done.is_set() or len(seconds) < 2:
            began = time.perf_counter()
            failures += await ask(port, get("/livez")) != 200
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_SECONDS)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(call() for _ in range(callers)))
    done.set()
    await watching
    return LoadFigures(statuses, seconds, failures)


@contextmanager
def service(home: Path, port: int, redis_url: str) -> Iterator[None]:
    """Run `acgan serve` until the block ends. Raises RuntimeError if it does not start within a minute."""
    variables = {"HOME": str(home), "REDIS_URL": redis_url, "DEVICE": "cpu", "WORK_RATE": "off"}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **{f"ACGAN_{name}": value for name, value in variables.items()},
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    with (
        (home / "serve.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stderr=log) as process,  # noqa: S603
    ):
        try:
            asyncio.run(wait_until_alive(port))
            yield
        finally:
            process.send_signal(signal.SIGTERM)


async def wait_until_alive(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(ConnectionError):
            if await ask(port, get("/livez")) == 200:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError("the service did not start within 60 s")


def table(figures: LoadFigures) -> str:
    """Return the figures as a Markdown table."""
    rows = [
        (f"responses with status {status or 'none'}", str(figures.statuses[status]))
        for status in sorted(figures.statuses)
    ]
    rows += [(f"`/livez` p{percent}", f"{figures.percentile(percent) * 1000:.1f} ms") for percent in (50, 99)]
    rows += [("`/livez` requests", str(len(figures.livez_seconds))), ("`/livez` failures", str(figures.livez_failures))]
    return "\n".join(["| measured | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> None:
    from app.server.embedded_redis import free_port
    from benchmarks.redis_server import RedisServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--callers", type=int, default=10)
    arguments = parser.parse_args()
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as server,
        service(Path(folder), port, server.url),
    ):
        figures = asyncio.run(attack(port, arguments.requests, arguments.callers))
    print(table(figures))  # noqa: T201
    sys.exit(1 if figures.server_errors or figures.livez_failures else 0)


if __name__ == "__main__":
    main()
