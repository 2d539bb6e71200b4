"""The proxy of docker-compose.scale.yml as a process, in front of replicas on different ports of this machine."""

import contextlib
import re
import selectors
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.faults.api import Api
from tests.support.ports import free_port
from tests.support.raw_http import HOST, POST

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
REPLICAS = re.compile(r"^ +server-template .*$", re.MULTILINE)


class Edge:
    """HAProxy, configured as in Compose, except for its own address and for replicas without DNS."""

    def __init__(self, folder: Path, replicas: list[Api]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        servers = "\n".join(f"    server api{api.port} 127.0.0.1:{api.port}" for api in replicas)
        configuration, backends = REPLICAS.subn(servers, CONFIGURATION.read_text())
        assert backends == 2
        self.replicas, self.figures = replicas, free_port()
        for meant, actual in ((8000, self.port), (8404, self.figures)):
            assert configuration.count(f"bind :{meant}\n") == 1
            configuration = configuration.replace(f"bind :{meant}\n", f"bind 127.0.0.1:{actual}\n")
        path = folder / "haproxy.cfg"
        path.write_text(configuration)
        self.log = folder / "haproxy.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(["haproxy", "-f", str(path)], stdout=log, stderr=log)  # noqa: S607

    def until_all_serve(self, seconds: float = 120) -> None:
        """Wait until each replica gets requests again: the proxy asks each of them every second or two."""
        deadline, wanted = time.monotonic() + seconds, 2 * len(self.replicas)
        while (found := self.count_serving()) < wanted:
            assert time.monotonic() < deadline, f"the proxy uses {found} of {wanted} replicas in its two backends"
            time.sleep(0.1)

    def count_serving(self) -> int:
        try:
            figures = httpx2.get(f"http://127.0.0.1:{self.figures}/metrics", timeout=20).text
        except httpx2.TransportError:  # it does not listen yet
            return 0
        return sum(
            line.startswith("haproxy_server_status{") and 'state="UP"' in line and line.endswith(" 1")
            for line in figures.splitlines()
        )

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Callers:
    """Clients that send requests in a loop over open connections, one thread each, and count the outcomes by kind."""

    def __init__(self, url: str, body: dict[str, object]) -> None:
        self.url, self.body = url, body
        self.outcomes: dict[str, Counter[str]] = {}
        self.threads: list[threading.Thread] = []
        self.over = threading.Event()
        self.lock = threading.Lock()

    def start(self, kind: str, count: int, pause: float) -> None:
        self.outcomes[kind] = Counter()
        for number in range(count):
            self.threads.append(threading.Thread(target=self.ask, args=(kind, number, pause)))
            self.threads[-1].start()

    def ask(self, kind: str, number: int, pause: float) -> None:
        with httpx2.Client(base_url=self.url, timeout=60) as client:
            while not self.over.wait(pause):
                try:
                    match kind:
                        case "read":
                            answer = client.get("/digits/7?n=4")
                        case "order with a key":
                            answer = client.post("/train", json=self.body, headers={"Idempotency-Key": f"key-{number}"})
                        case "order":
                            answer = client.post("/train", json=self.body)
                    outcome = str(answer.status_code)
                except httpx2.TransportError as error:
                    outcome = type(error).__name__
                with self.lock:
                    self.outcomes[kind][outcome] += 1

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


@contextmanager
def asking(url: str, body: dict[str, object], pause: float = 0.05, **counts: int) -> Iterator[dict[str, Counter[str]]]:
    """Run this many callers of each kind until the block ends: `read=3, order_with_a_key=1`. Yields the outcomes."""
    callers = Callers(url, body)
    for kind, count in counts.items():
        callers.start(kind.replace("_", " "), count, pause)
    try:
        yield callers.outcomes
    finally:
        callers.end()


HALF = {
    "head": b"GET /digits/7 HTTP/1.1\r\n" + HOST,
    "body": POST + b"Content-Length: 4000\r\n\r\n{",
}
DRIP = {"head": b"X-More: a\r\n", "body": b" "}


class SlowClients:
    """Clients that never complete a request, ten from each address. A client that is disconnected reconnects."""

    def __init__(self, port: int, count: int) -> None:
        self.port, self.count = port, count
        self.began: dict[socket.socket, str] = {}
        self.sent_away = Counter[str]()
        self.over = threading.Event()
        self.selector = selectors.DefaultSelector()
        for number in range(count):
            self.connect(number)
        self.thread = threading.Thread(target=self.send_slowly)
        self.thread.start()

    def connect(self, number: int) -> None:
        made = socket.create_connection(
            ("127.0.0.1", self.port), source_address=(f"127.1.{number // 2540}.{number // 10 % 254 + 1}", 0), timeout=10
        )
        made.setblocking(False)
        what = "head" if number % 2 else "body"
        made.send(HALF[what])
        self.began[made] = what
        self.selector.register(made, selectors.EVENT_READ, number)

    def send_slowly(self) -> None:
        """Send a little from each client once a second, and count those that were answered or cut off."""
        while not self.over.wait(1.0):
            for key, _ in self.selector.select(0):
                self.disconnect(key)
                self.connect(key.data)
            for connection, what in list(self.began.items()):
                with contextlib.suppress(OSError):  # the next select finds it closed
                    connection.send(DRIP[what])

    def disconnect(self, key: selectors.SelectorKey) -> None:
        connection = key.fileobj
        assert isinstance(connection, socket.socket)
        try:
            message = connection.recv(65536)[9:12].decode()
        except OSError:
            message = ""
        self.sent_away[message] += 1
        self.selector.unregister(connection)
        del self.began[connection]
        connection.close()

    def end(self) -> None:
        self.over.set()
        self.thread.join()
        for connection in self.began:
            connection.close()


@contextmanager
def slow(port: int, count: int) -> Iterator[SlowClients]:
    made = SlowClients(port, count)
    try:
        yield made
    finally:
        made.end()


def until_served(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    with httpx2.Client(base_url=url, timeout=5) as client:
        while time.monotonic() < deadline:
            try:
                if client.get("/livez").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
    raise AssertionError(f"{url} does not serve")
