"""Digits while generators are published and deleted, and while Redis and the workers are gone."""

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch

from models.networks.inference import FoldedGenerator
from models.networks.weights import generator_from_bytes
from models.registry.store import GENERATOR, CheckpointId
from models.sampling.sampler import draw_digits, prepare
from tests.app.conftest import publish
from tests.faults.api import Api
from tests.faults.world import World, running_world
from tests.models.registry.test_store import OLD
from tests.support.s3_endpoint import Endpoint

PUBLICATIONS = int(os.environ.get("PUBLICATIONS", "12"))  # one a second


@pytest.fixture
def world(tmp_path: Path, place: Endpoint | None) -> Iterator[World]:
    with running_world(tmp_path, endpoint=place) as made:
        publish(made.store, OLD, 1, seed=1)
        yield made


@pytest.mark.timeout(60 + 10 * PUBLICATIONS)
@pytest.mark.long
def test_each_response_is_drawn_by_one_generator_during_publications(world: World, api: Api) -> None:
    """Twenty requests a second: each is answered, and the checkpoint that it names draws the same again."""
    answers: list[httpx2.Response] = []
    over = threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=api.url, timeout=20) as client:
            while not over.is_set():
                answers.append(client.get(f"/digits/{len(answers) % 10}?n=4&format=npy"))
                time.sleep(0.1)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for epoch in range(2, PUBLICATIONS + 2):
        publish(world.store, OLD, epoch, seed=epoch)
        time.sleep(1)
    over.set()
    for asker in askers:
        asker.join()

    assert {answer.status_code for answer in answers} == {200}
    generators: dict[str, FoldedGenerator] = {}
    for answer in answers:
        name = answer.headers["X-Checkpoint"]
        if name not in generators:
            manifest = world.store.manifest(CheckpointId.parse(name))
            weights = generator_from_bytes(world.store.read(manifest, GENERATOR))
            generators[name] = prepare(weights, torch.device("cpu"))
        seed, index = int(answer.headers["X-Seed"]), int(answer.headers["X-Index"])
        label = int(answer.url.path.rpartition("/")[2])
        assert np.array_equal(np.load(io.BytesIO(answer.content)), draw_digits(generators[name], label, 4, seed, index))
    assert len(generators) > PUBLICATIONS / 2


def test_digits_need_neither_redis_nor_a_worker(world: World, api: Api) -> None:
    worker = world.start_worker()
    world.until_running(world.accept(epochs=1000))
    world.kill(worker.pid)
    world.redis.kill()
    with httpx2.Client(base_url=api.url, timeout=20) as client:
        statuses = [client.get(f"/digits/{number % 10}?n={1 + number % 7}").status_code for number in range(1000)]
    assert statuses == [200] * 1000
