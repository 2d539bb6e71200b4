"""The API that is asked to end, or killed: whoever was being answered is, and nothing that was accepted is lost."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.embedded_redis import free_port
from tests.app.conftest import publish
from tests.faults.world import TINY, World, world
from tests.models.test_checkpoints import OLD
from worker.jobs import JobStatus


class Api:
    def __init__(self, here: World) -> None:
        self.here = here
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", str(self.port)]
        with self.here.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.here.environment, stdout=log, stderr=log)
        self.here.until("the API answers", self.answers)

    def answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/livez", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        publish(made.store, OLD, 1, seed=1)
        yield made


@pytest.fixture
def api(here: World) -> Iterator[Api]:
    made = Api(here)
    yield made
    made.end()


def test_whoever_is_being_answered_when_the_api_ends_gets_the_answer(api: Api) -> None:
    outcomes: Counter[str] = Counter()
    begun = threading.Barrier(31)

    def ask() -> None:
        with httpx2.Client(timeout=20) as client:
            client.get(f"{api.url}/livez")  # the connection stands
            begun.wait()
            try:
                answer = client.get(f"{api.url}/digits/7?n=40")
                outcomes[str(answer.status_code)] += 1
            except httpx2.TransportError as error:
                outcomes[type(error).__name__] += 1

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    begun.wait()
    time.sleep(0.3)  # the requests are under way: all together take longer
    api.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert outcomes == {"200": 30}
    assert api.process.wait(10) in (0, -signal.SIGTERM)


def test_a_key_makes_one_job_though_the_api_is_killed_again_and_again(here: World, api: Api) -> None:
    """Whoever gets no answer sends the request once more, as it was."""
    key, seen = {"Idempotency-Key": "mine"}, set()
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            try:
                answer = httpx2.post(f"{api.url}/train", json=TINY, headers=key, timeout=5)
                assert answer.status_code in (202, 503), answer.text
                if answer.status_code == 202:
                    seen.add(answer.json()["id"])
            except httpx2.TransportError:
                time.sleep(0.05)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.7)
        api.end()
        api.start()
    stop.set()
    for thread in threads:
        thread.join()
    assert len(seen) == 1
    assert [job.id for job in here.ask(lambda desk: desk.newest(100))] == list(seen)


def test_a_burst_is_bounded_and_what_was_accepted_is_there(here: World, api: Api) -> None:
    answers: Counter[int] = Counter()
    lock = threading.Lock()

    def send() -> None:
        with httpx2.Client(timeout=30) as client:
            for _ in range(50):
                answer = client.post(f"{api.url}/train", json=TINY)
                assert answer.status_code == 202 or int(answer.headers["Retry-After"]) > 0
                with lock:
                    answers[answer.status_code] += 1

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {202: 100, 429: 400}
    waiting = here.ask(lambda desk: desk.newest(200))
    assert len(waiting) == 100
    assert {job.status for job in waiting} == {JobStatus.QUEUED}


def test_while_redis_is_down_the_api_says_so_at_once_and_draws(here: World, api: Api) -> None:
    here.redis.kill()
    for _ in range(5):
        begun = time.monotonic()
        answer = httpx2.post(f"{api.url}/train", json=TINY, timeout=10)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert time.monotonic() - begun < 5
        assert httpx2.get(f"{api.url}/digits/3?n=4", timeout=10).status_code == 200
    here.redis.start()
    here.until("jobs are accepted again", lambda: httpx2.post(f"{api.url}/train", json=TINY).status_code == 202, 15)
