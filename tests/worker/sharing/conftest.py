"""A data set drawn by several workers, over a real Redis and a real store: the files are those of one worker.

A helper is called when an idle worker would be notified: before the owner draws its first part.
"""

import hashlib
from collections.abc import Callable, Iterator

import pytest
import torch

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.registry import bundled
from models.registry.store import CheckpointStore
from models.synthesis import order
from models.synthesis.builder import make
from models.synthesis.order import FILES, MANIFEST, DatasetManifest, DatasetOrder, Part, Provenance
from models.synthesis.shards import Contributions
from models.torch_device import describe
from worker.handlers.dataset_drawing import drawing, read_generator
from worker.handlers.helping import Helper
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import HELPING, parts_key
from worker.jobs.model import JobStatus, RunsOn
from worker.settings import WorkerSettings

CPU = torch.device("cpu")
ORDER = DatasetOrder(per_class=20, test_per_class=4, seed=4, checkpoint=str(bundled.checkpoint()), verify=0.5)
PARTS = 6  # of four digits a class

Knock = Callable[[RunsOn], None]
TAKES: tuple[RunsOn, ...] = ("any", "cpu")


@pytest.fixture(scope="package", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "PART", 4)
        yield


@pytest.fixture(scope="package")
def alone(tmp_path_factory: pytest.TempPathFactory, small_parts: None) -> dict[str, str]:
    """The checksums of the files that one worker makes."""
    folder = tmp_path_factory.mktemp("alone")
    origin = Provenance(generator_sha256="", device="", code_version="")
    with drawing(ORDER, *read_generator(CheckpointStore(folder), ORDER), CPU) as draw:
        assert list(make(folder, ORDER, origin, draw))[-1] == ORDER.digits
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, device="cpu")


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that helpers left for the owner, in order."""
    names, leave = list[str](), Contributions.leave

    def note(self: Contributions, part: Part, data: bytes) -> None:
        leave(self, part, data)
        names.append(part.name)

    monkeypatch.setattr(Contributions, "leave", note)
    return names


def accept(settings: WorkerSettings, order: DatasetOrder = ORDER) -> str:
    return ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(TrainingConfig(), dataset=order))).id


def helper(settings: WorkerSettings, notify_workers: Knock = lambda _: None) -> Helper:
    return Helper(JobConsumer.connect(settings.redis_url), settings.open_store(), settings, TAKES, notify_workers)


def check(settings: WorkerSettings, job_id: str, alone: dict[str, str], helped: int) -> None:
    """Check that the files are right, the record counts all digits, and no part is left."""
    job, store = ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id)), settings.open_store()
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert {name: hashlib.sha256(store.read_dataset(job_id, name)).hexdigest() for name in FILES} == alone
    assert job.progress
    assert (job.progress.batch, job.progress.batches) == (ORDER.digits, ORDER.digits)
    manifest = DatasetManifest.model_validate_json(store.read_dataset(job_id, MANIFEST))
    assert manifest.helpers == ({describe(CPU): helped} if helped else {})
    assert Contributions(store, job_id).names() == set()
    with JobConsumer.connect(settings.redis_url).redis as client:
        assert client.exists(HELPING, parts_key(job_id)) == 0
