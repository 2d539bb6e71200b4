"""Callers of a running API that check each response: one requests digits and lists, others follow a job's events."""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2

SECONDS = 20.0  # for a response
LABELS = 10
ASK_SECONDS = 0.3
SERVED_SECONDS = 0.5


class Watcher:
    """A thread that makes rounds until `stop`. `wrong` lists the faults that it found, one sentence each."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def round(self, client: httpx2.Client) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self._over.set()
        self._thread.join(2 * SECONDS)

    def _run(self) -> None:
        with httpx2.Client(timeout=SECONDS) as client:
            while not self._over.wait(self.pause):
                try:
                    self.round(client)
                except Exception as error:
                    self.wrong.append(f"{type(self).__name__}: {type(error).__name__}: {error}")


class ServedWatcher(Watcher):
    """Records which checkpoints an API serves while it follows the newest: one series for each of its processes."""

    def __init__(self, url: Callable[[], str | None]) -> None:
        self.url = url
        self.series: list[list[str]] = [[]]
        super().__init__(SERVED_SECONDS)

    def round(self, client: httpx2.Client) -> None:
        url = self.url()
        if url is None:
            return
        try:
            answer = client.get(f"{url}/serving").json()
            served, policy = answer["serving"], answer["policy"]
        except (httpx2.TransportError, ValueError, KeyError):  # the process has ended, is starting, or drains
            self.interrupt()
            return
        if policy != "newest":
            self.interrupt()
        elif served and [served] != self.series[-1][-1:]:
            self.series[-1].append(served)

    def interrupt(self) -> None:
        if self.series[-1]:
            self.series.append([])


class Caller(Watcher):
    """Requests digits by a permanent address, the list of jobs, and the readiness of the API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: Counter[str] = Counter()
        self.series: list[str] = []  # the checkpoints that drew, in order
        self.troubles: set[str] = set()
        self._pixels: dict[tuple[str, int], bytes] = {}
        self._rounds = 0
        super().__init__(ASK_SECONDS)

    def round(self, client: httpx2.Client) -> None:
        self._rounds += 1
        self._ask_for_digits(client, self._rounds % LABELS)
        if self._rounds % 3 == 0:
            self._ask_for_jobs(client)
            self._ask_whether_ready(client)

    def _ask_for_digits(self, client: httpx2.Client, label: int) -> None:
        answer = client.get(f"{self.url}/digits/{label}?n=3&seed=7")
        self.answers[f"digits {answer.status_code}"] += 1
        if answer.status_code != 200:
            if self.series or answer.status_code != 503:
                self.wrong.append(f"digits: {answer.status_code} {answer.text[:200]}, after {self.series[-1:]}")
            return
        checkpoint = answer.headers["X-Checkpoint"]
        if [checkpoint] != self.series[-1:]:
            self.series.append(checkpoint)
        if self._pixels.setdefault((checkpoint, label), answer.content) != answer.content:
            self.wrong.append(f"digits: {checkpoint} drew other pixels for label {label}, seed 7")

    def _ask_for_jobs(self, client: httpx2.Client) -> None:
        answer = client.get(f"{self.url}/jobs?limit=5&epochs=last")
        self.answers[f"jobs {answer.status_code}"] += 1
        is_right = answer.status_code == 200 or (answer.status_code == 503 and "Retry-After" in answer.headers)
        if not is_right:
            self.wrong.append(f"jobs: {answer.status_code} {answer.text[:200]}")

    def _ask_whether_ready(self, client: httpx2.Client) -> None:
        ready = client.get(f"{self.url}/readyz").json()
        self.answers["ready" if ready["ready"] else "not ready"] += 1
        self.troubles.update(filter(None, [ready["trouble"]]))


class Follower(Watcher):
    """Follows one job as a browser does: each time with the id of the last event that it received."""

    def __init__(self, url: str, job: str) -> None:
        self.url, self.job = url, job
        self.epochs: dict[int, Any] = {}  # losses by epoch
        self.statuses: list[str] = []
        self.last_id: str | None = None
        super().__init__(0.2)

    def round(self, client: httpx2.Client) -> None:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        with (
            contextlib.suppress(httpx2.TransportError),  # its connection may be cut: it reconnects
            client.stream("GET", f"{self.url}/jobs/{self.job}/events", headers=headers) as answer,
        ):
            if answer.status_code == 200:
                self._read(answer)
            elif answer.status_code not in (204, 503):
                self.wrong.append(f"events: {answer.status_code}")

    def _read(self, answer: httpx2.Response) -> None:
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if self._over.is_set():
                return
            name, _, value = line.partition(":")
            if name:
                event[name] = value.strip()
            elif "data" in event:
                self._take(event)
                event = {}

    def _take(self, event: dict[str, str]) -> None:
        data = json.loads(event["data"])
        self.last_id = event.get("id", self.last_id)
        match event["event"]:
            case "job":
                self.statuses.append(data["status"])
                for epoch in data["epochs"]:
                    self._add(epoch)
            case "epoch":
                self._add(data)
            case "status":
                self.statuses.append(data["status"])

    def _add(self, epoch: dict[str, Any]) -> None:
        if self.epochs.setdefault(epoch["epoch"], epoch["losses"]) != epoch["losses"]:
            self.wrong.append(f"events: epoch {epoch['epoch']} of {self.job} came with other losses than before")
