"""The API shuts down or is killed: requests in progress are answered, and no accepted job is lost."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.app.conftest import publish
from tests.faults.api import Api, in_parallel, outcomes_of_requests_in_flight
from tests.faults.world import TINY, World, running_world
from tests.models.registry.test_store import OLD
from tests.support.job_lists import newest
from tests.support.s3_endpoint import Endpoint
from worker.jobs.model import JobStatus

KEY = {"Idempotency-Key": "mine"}
KILLS = 20
MEGABYTE = 2**20


@pytest.fixture
def world(tmp_path: Path, place: Endpoint | None) -> Iterator[World]:
    # The tests are about which requests are answered, not how many fit.
    environment = {"ACGAN_DRAWING_WAIT_SECONDS": "60"}
    with running_world(tmp_path, endpoint=place, environment=environment) as made:
        publish(made.store, OLD, 1, seed=1)
        yield made


def test_requests_in_progress_when_the_api_shuts_down_are_answered(api: Api) -> None:
    outcomes = outcomes_of_requests_in_flight(api, 100, lambda: api.process.send_signal(signal.SIGTERM))
    assert outcomes == {"200": 100}
    assert api.process.wait(10) in (0, -signal.SIGTERM)


@pytest.mark.long
def test_a_key_creates_one_job_although_the_api_is_killed_repeatedly(world: World, api: Api, seed: int) -> None:
    """A client without a response sends the same request again. Two APIs are killed in turn, which is quicker."""
    both, seen, fates = [api, Api(world)], set(), Counter[str]()
    stop, lock = threading.Event(), threading.Lock()

    def send(number: int) -> None:
        with httpx2.Client(base_url=both[number % 2].url, headers=KEY, timeout=5) as client:
            while not stop.wait(0.02):
                try:
                    answer = client.post("/train", json=TINY)
                    fate = str(answer.status_code)
                    if answer.status_code == 202:
                        seen.add(answer.json()["id"])
                except httpx2.ConnectError:
                    time.sleep(0.2)  # no API is running
                    continue
                except httpx2.TransportError:
                    fate = "cut"
                with lock:
                    fates[fate] += 1

    def kill(number: int) -> None:
        moments = random.Random(seed + number)
        for _ in range(KILLS // 2):
            time.sleep(moments.uniform(0, 0.5))
            both[number].end()
            both[number].start()

    senders = threading.Thread(target=in_parallel, args=(4, send))
    senders.start()
    try:
        in_parallel(2, kill)
    finally:
        stop.set()
        senders.join()
        both[1].end()
    assert fates["cut"] > 0, fates
    assert set(fates) <= {"cut", "202", "503"}
    assert len(seen) == 1
    assert [job.id for job in world.ask(lambda jobs: newest(jobs, 100))] == list(seen)


def test_a_hundred_concurrent_requests_with_one_key_create_one_job_and_another_request_is_refused(
    world: World, api: Api
) -> None:
    answers: list[httpx2.Response] = []
    begun = threading.Barrier(100)

    def send(_number: int) -> None:
        with httpx2.Client(timeout=60) as client:
            client.get(f"{api.url}/livez")
            begun.wait()
            answers.append(client.post(f"{api.url}/train", json=TINY, headers=KEY))

    in_parallel(100, send)
    assert Counter(answer.status_code for answer in answers) == {202: 100}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = httpx2.post(f"{api.url}/train", json={**TINY, "seed": 7}, headers=KEY)
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency-conflict"
    assert len(world.ask(lambda jobs: newest(jobs, 100))) == 1


def test_a_burst_is_limited_and_every_accepted_job_exists(world: World, api: Api) -> None:
    answers: Counter[int] = Counter()
    seconds: list[float] = []
    lock = threading.Lock()

    def used(client: Any) -> int:
        return int(client.info("memory")["used_memory"])

    def send(_number: int) -> None:
        with httpx2.Client(timeout=30) as client:
            for _ in range(100):
                begun = time.monotonic()
                answer = client.post(f"{api.url}/train", json=TINY)
                took = time.monotonic() - begun
                assert answer.status_code == 202 or 1 <= int(answer.headers["Retry-After"]) <= 120
                with lock:
                    answers[answer.status_code] += 1
                    seconds.append(took)

    with world.redis.client() as client:
        before = used(client)
        in_parallel(10, send)
        grown = used(client) - before
    p99 = sorted(seconds)[989]
    print(f"p99 of 1000 posts by ten at once: {1000 * p99:.0f} ms; Redis grew by {grown / MEGABYTE:.2f} MiB")  # noqa: T201
    assert answers == {202: 100, 429: 900}
    assert grown <= 5 * MEGABYTE
    assert p99 < 10
    waiting = world.ask(lambda jobs: newest(jobs, 200))
    assert len(waiting) == 100
    assert {job.status for job in waiting} == {JobStatus.QUEUED}


def test_while_redis_is_down_the_api_reports_it_at_once_and_draws(world: World, api: Api) -> None:
    world.redis.kill()
    for _ in range(5):
        begun = time.monotonic()
        answer = httpx2.post(f"{api.url}/train", json=TINY, timeout=10)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert time.monotonic() - begun < 5
        assert httpx2.get(f"{api.url}/digits/3?n=4", timeout=10).status_code == 200
    world.redis.start()
    world.until("jobs are accepted again", lambda: httpx2.post(f"{api.url}/train", json=TINY).status_code == 202, 15)
