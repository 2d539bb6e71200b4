"""API, worker, and Redis with a bucket on three hosts, each cut off repeatedly, as a whole or in one direction.

For every cut of any duration: each accepted job ends once, every response is a success or a refusal with Retry-After,
and when the network is healed the work continues.
"""

import itertools
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.app.conftest import publish
from tests.faults.hosts import HostedApi, HostedRedis, How, Network, listen, missing_requirement, network
from tests.faults.world import LEASE_SECONDS, PACE, TINY, World, check, outcome, running_world
from tests.models.registry.test_store import OLD
from tests.support.job_lists import newest
from tests.support.s3_endpoint import Endpoint
from worker.jobs.model import ENDED

CUTS = int(os.environ.get("CUTS", "6"))  # in all; 24 are each host in each way, briefly and for long
HOSTS = ("api", "worker", "store")
WAYS: tuple[How, ...] = ("unplugged", "deaf", "mute", "silent")
SPANS = {"briefly": (0.2, 2.0), "for long": (1.5 * LEASE_SECONDS, 2.5 * LEASE_SECONDS)}
HEAL_SECONDS = 30.0  # until the API takes orders again, and a job continues
ORDER = {**TINY, "epochs": 2, "train_examples": 16}
ASKERS = 2  # that submit one job after the other

pytestmark = [pytest.mark.faults, pytest.mark.timeout((120 + 15 * CUTS) * PACE)]


class Cut(NamedTuple):
    host: str
    how: How
    seconds: float


def cuts_of(host: str, span: str, moments: random.Random) -> list[Cut]:
    """Four cuts, no two of which are alike."""
    ways = itertools.cycle(moments.sample(WAYS, len(WAYS)))
    count = -(-CUTS // (len(HOSTS) * len(SPANS)))
    return [Cut(host, how, moments.uniform(*SPANS[span])) for how in itertools.islice(ways, count)]


class Callers:
    """Clients on the API's host: some submit jobs with keys and follow them, one reads. Checks every response."""

    def __init__(self, world: World, api: HostedApi) -> None:
        self.world, self.api = world, api
        self.answers: Counter[tuple[str, int]] = Counter()
        self.mistakes: list[str] = []
        self.accepted: dict[str, str] = {}  # key -> job
        self.last_redis_use = 0.0  # when Redis last contributed to a response that was no refusal
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.try_to, args=(self.order, number)) for number in range(ASKERS)]
        self.threads.append(threading.Thread(target=self.try_to, args=(self.read_in_a_loop, 0)))
        for thread in self.threads:
            thread.start()

    def try_to(self, work: Any, number: int) -> None:
        try:
            self.api.network.enter(self.api.host)
            with httpx2.Client(base_url=self.api.url, timeout=30 * PACE) as client:
                work(client, number)
        except Exception as trouble:  # raised by the test, not by a thread
            self.mistakes.append(f"a caller ended: {trouble!r}")

    def order(self, client: httpx2.Client, number: int) -> None:
        for count in itertools.count():
            if self.over.is_set():
                return
            key = f"key-{number}-{count}"
            self.accepted[key] = job = self.request_until_accepted(client, "order", "POST", "/train", key)["id"]
            self.world.note("accepted", (key, job))
            if (again := self.request_until_accepted(client, "order again", "POST", "/train", key)["id"]) != job:
                self.mistakes.append(f"{key} became {job} and {again}")
            deadline = time.monotonic() + 240 * PACE
            while self.request_until_accepted(client, "job", "GET", f"/jobs/{job}")["status"] not in ENDED:
                time.sleep(0.2 * PACE)
                if time.monotonic() > deadline:
                    self.mistakes.append(f"{job} does not end")
                    return

    def request_until_accepted(
        self, client: httpx2.Client, what: str, method: str, path: str, key: str | None = None
    ) -> Any:
        """Send the request until the response is no refusal."""
        while True:
            answer = (
                client.post(path, json=ORDER, headers={"Idempotency-Key": key}) if key else client.request(method, path)
            )
            if self.judge(what, answer):
                self.last_redis_use = time.monotonic()
                return answer.json()
            time.sleep(0.2 * PACE)

    def read_in_a_loop(self, client: httpx2.Client, _number: int) -> None:
        while not self.over.wait(PACE):
            for path in ("/digits/7?n=4", "/jobs?limit=3", "/checkpoints", "/readyz", "/metrics"):
                self.judge(path.partition("?")[0], client.get(path))

    def judge(self, what: str, answer: httpx2.Response) -> bool:
        """Whether it is no refusal. A refusal must be a 503 with a sentence for the reason, and with Retry-After."""
        with self.lock:
            self.answers[what, answer.status_code] += 1
        if answer.is_success:
            return True
        told = answer.text[:300]
        polite = answer.status_code == 503 and int(answer.headers.get("Retry-After", 0)) > 0 and "detail" in told
        if not polite or what.startswith("/digits"):
            self.mistakes.append(f"{what}: {answer.status_code} {told}")
        return False

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


class Deployment(NamedTuple):
    world: World
    network: Network
    api: HostedApi


@pytest.fixture
def deployment(tmp_path: Path, endpoint: Endpoint) -> Iterator[Deployment]:
    if (reason := missing_requirement()) is not None:
        pytest.skip(reason)
    with network(*HOSTS) as made, served_at(endpoint, made) as bucket:
        redis = HostedRedis(tmp_path / "redis", made, "store")
        given = {
            "ACGAN_REDIS_URL": redis.address,
            "AWS_ENDPOINT_URL": bucket,
            "ACGAN_SAVE_SECONDS": str(2 * PACE),
            "ACGAN_RECONCILE_SECONDS": str(2 * PACE),  # four rounds must be enough to replace a lost training process
        }
        with running_world(tmp_path / "world", environment=given, endpoint=endpoint, server=redis) as world:
            world.supervised, world.within = True, made.within("worker")
            publish(world.store, OLD, 1, seed=1, dataset="printed")  # as its runs
            api = HostedApi(world, made, "api", {"ACGAN_HOME": str(tmp_path / "api"), "ACGAN_STOCK": "0"})
            try:
                world.start_worker()
                api.until_ready(60)
                yield Deployment(world, made, api)
            finally:
                api.end()


@contextmanager
def served_at(endpoint: Endpoint, network: Network) -> Iterator[str]:
    """Open the endpoint at an address of the store's host, too."""
    with listen(network, "store", 9000) as listener, endpoint.serve_also(listener):
        yield f"http://{network.addresses['store']}:9000"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("span", SPANS)
def test_every_accepted_job_ends_once_after_cuts(deployment: Deployment, host: str, span: str, seed: int) -> None:
    world, healed, moments = deployment.world, list[tuple[float, Cut]](), random.Random(seed)
    world.note("seed", seed)
    callers = Callers(world, deployment.api)
    try:
        until_work_continues(world, callers, 120)
        for cut in cuts_of(host, span, moments):
            world.pause(moments.uniform(0, 1.0))
            world.note("cut", cut)
            deployment.network.cut(cut.host, cut.how)
            world.pause(cut.seconds)
            deployment.network.heal(cut.host)
            world.note("healed")
            healed.append((until_work_continues(world, callers), cut))
            until_progress_is_kept(world)
    finally:
        callers.end()
    print(f"seed {seed}: {len(healed)} cuts; {len(callers.accepted)} jobs; answers {dict(callers.answers)}")  # noqa: T201
    for seconds, cut in sorted(healed, reverse=True):
        print(f"{seconds:6.2f} s after {cut}")  # noqa: T201
    assert callers.mistakes == [], unexpected(world)
    jobs = list(callers.accepted.values())
    newest = str(world.store.latest())
    assert newest == f"{max(jobs)}-e{ORDER['epochs']:03d}"
    judge(world, jobs)
    deployment.api.until_ready(HEAL_SECONDS, str(world.store.latest()))


def judge(world: World, jobs: list[str]) -> None:
    """One job for each order; all have the result of an undisturbed one."""
    assert sorted(job.id for job in world.ask(lambda jobs: newest(jobs, 1000))) == sorted(jobs)
    starts = re.findall(r"job ([\w-]+) starts, with token (\d+)", world.log.read_text())
    assert len(starts) == len({token for _, token in starts}) >= len(jobs), world.story()
    often = Counter(job for job, _ in starts)
    undisturbed = next((job for job in jobs if often[job] == 1), None) or world.accept(**ORDER)
    check(world, jobs, outcome(world.store, world.until_ended(undisturbed)))


def unexpected(world: World) -> str:
    lines = world.log.read_text(errors="replace").splitlines()
    return "\n".join([world.story(), *(line for line in lines if '"exception"' in line and "WorkerLost" not in line)])


def until_work_continues(world: World, callers: Callers, seconds: float = HEAL_SECONDS) -> float:
    """Wait until the API has used Redis and a worker has reported progress. Returns the duration."""
    began, told = time.monotonic(), last_worker_event(world)
    world.until("the API takes orders", lambda: callers.last_redis_use > began, seconds)
    world.until("a job makes progress", lambda: last_worker_event(world) > told, seconds)
    return time.monotonic() - began


def last_worker_event(world: World) -> str:
    """The id of the last event that only a worker writes."""
    with world.redis.client() as client:
        events: Any = client.xrevrange("acgan:events", count=100)
    return next((name for name, event in events if event["kind"] in ("progress", "epoch")), "")


def until_progress_is_kept(world: World) -> None:
    """Wait for progress in a saved state: three workers lost in a row without any would rightly end a job."""

    def kept() -> list[str | None]:
        with world.redis.client() as client:
            jobs: Any = client.zrange("acgan:jobs", 0, -1)
            return [client.hget(f"acgan:job:{job}", "saved") for job in jobs]

    before = kept()
    world.until("progress is saved", lambda: kept() != before)
