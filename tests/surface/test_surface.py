"""The public surface equals the frozen one. After an intended change, run `python -m tests.surface` and add a line to
CHANGELOG.md.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from tests.conftest import RunningRedis
from tests.surface import collect
from worker.jobs.client import Order
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own variables do not change a default."""
    for name in ("ACGAN_DATA_DIR", "ACGAN_HOME", "ACGAN_MNIST_MIRRORS", "ACGAN_JUDGE", "ACGAN_PRETRAINED"):
        monkeypatch.delenv(name, raising=False)


def frozen(name: str) -> Any:
    return json.loads((collect.FROZEN / f"{name}.json").read_text())


@pytest.mark.usefixtures("undefined")
@pytest.mark.parametrize("name", collect.PARTS)
def test_the_surface_equals_the_frozen_one(name: str) -> None:
    assert json.loads(collect.as_json(collect.PARTS[name]())) == frozen(name)


def test_a_run_stores_the_same_keys_and_files(
    shared_redis: RunningRedis, redis_url: str, config: TrainingConfig, tmp_path: Path
) -> None:
    settings = WorkerSettings(redis_url=redis_url)
    order = Order(config, caller="ana", idempotency_key="once", webhook="https://hooks.example.com/")
    job = ask_desk(redis_url, lambda jobs: jobs.create(order)).id
    run_next_job(settings)
    with shared_redis.client() as client:
        keys = {f"{key}: {client.type(key)}" for key in client.scan_iter("*")}
        fields = {
            f"{key} {field}"
            for key in client.scan_iter("acgan:job:*")
            if client.type(key) == "hash"
            for field in client.hkeys(key)
        }
    root = settings.store_dir
    files = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    found = {"redis": collect.stored(keys | fields, job), "store": collect.stored(files, job)}
    assert found == {"redis": frozen("redis"), "store": frozen("store")}, collect.as_json(found)
