"""The API in this process, over a real Redis, with an untrained generator published."""

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.networks.acgan import Generator, initialize
from models.networks.weights import generator_from_bytes, to_bytes
from models.registry import bundled
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from models.registry.training_data import TrainingDataManifest
from models.sampling.png import encode_png
from tests.conftest import RunningRedis, set_environment
from tests.models.registry.test_store import NEW, OLD, manifest
from tests.support import prepared_generators, style_banks
from tests.support.api_clients import local_client
from worker.jobs.consumer import JobConsumer


@cache
def fresh_weights(seed: int, classes: int = 10) -> bytes:
    generator = Generator(classes=classes)
    initialize(generator, torch.Generator().manual_seed(seed))
    return to_bytes(generator)


def publish(store: CheckpointStore, job: str, epoch: int, seed: int, dataset: str = "mnist") -> str:
    """Publish a generator with fresh weights. Returns its id."""
    samples = encode_png(np.zeros((1120, 588), np.uint8))
    made = manifest(job, epoch)
    made = made.model_copy(update={"config": made.config.model_copy(update={"dataset": dataset})})
    return store.publish(made, {GENERATOR: fresh_weights(seed), SAMPLES: samples}).id


def publish_own(
    store: CheckpointStore,
    job: str,
    dataset: str,
    classes: tuple[str, ...],
    epoch: int = 1,
    metrics: dict[str, float] | None = None,
    age_seconds: float = 0,
) -> str:
    """Publish a generator of other classes than the digits, with fresh weights. Returns its id."""
    made = manifest(job, epoch, age_seconds)
    config = made.config.model_copy(update={"dataset": dataset})
    made = made.model_copy(update={"config": config, "classes": classes, "metrics": metrics or {}})
    return store.publish(made, {GENERATOR: fresh_weights(epoch, len(classes))}).id


def refuse(store: CheckpointStore, dataset: str, epoch: int, why: str, classes: tuple[str, ...] | None = None) -> str:
    """Publish an epoch that the quality gate refused, without weights. Returns its id."""
    made = manifest("20260104-000000-aaaaaa", epoch)
    update = {"config": made.config.model_copy(update={"dataset": dataset}), "refused": why, "classes": classes}
    return store.publish(made.model_copy(update=update), {}).id


def publish_trained(store: CheckpointStore, job: str, data: TrainingDataManifest) -> str:
    """Publish a generator with fresh weights that names training data of the store, and their checksum."""
    made = manifest(job, 1)
    config = made.config.model_copy(update={"dataset": str(data.reference)})
    update = {"config": config, "classes": data.classes, "dataset_checksum": data.dataset_checksum}
    return store.publish(made.model_copy(update=update), {GENERATOR: fresh_weights(1, len(data.classes))}).id


@pytest.fixture(scope="session", autouse=True)
def kept_generators() -> Iterator[None]:
    with prepared_generators.kept(), style_banks.small():
        yield


@pytest.fixture
def busy_machine_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer is filled although other processes need the processor."""
    monkeypatch.setattr("app.inference.batcher.FAIR", math.inf)


@pytest.fixture
def consumer(redis_url: str) -> Iterator[JobConsumer]:
    """The worker's side of the job record."""
    consumer = JobConsumer.connect(redis_url)
    yield consumer
    consumer.close()


@pytest.fixture(scope="session")
def good() -> Generator:
    """The bundled generator."""
    first = bundled.checkpoint()
    assert first, "the package has no generator"
    found = bundled.STORE.manifest(first)
    return generator_from_bytes(bundled.STORE.read(found, found.draws))


@pytest.fixture
def settings(redis_url: str) -> AppSettings:
    return AppSettings(redis_url=redis_url)


@pytest.fixture
def store(settings: AppSettings) -> CheckpointStore:
    return publish_two(CheckpointStore(settings.store_dir))


def publish_two(store: CheckpointStore) -> CheckpointStore:
    publish(store, OLD, 1, seed=1)
    publish(store, NEW, 1, seed=2)
    return store


@pytest.fixture(scope="module")
def shared_client(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One API for the tests of a module that publish nothing. Before each that uses `redis_url`, its Redis is empty."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("shared") / "home")
        settings = AppSettings(redis_url=shared_redis.url)
        publish_two(CheckpointStore(settings.store_dir))
        with local_client(create_app(settings), raise_server_exceptions=False) as client:
            yield client


@pytest.fixture
def client(settings: AppSettings, store: CheckpointStore) -> Iterator[TestClient]:
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        yield client
