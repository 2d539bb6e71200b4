"""A data set drawn by several workers, over a real Redis and a real store: the files are those of one worker.

Celery is not part of these tests: a message is drawn in this process when the test says so.
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
from models.synthesis.shards import Shards
from models.synthesis.verified_sampler import DatasetDrawer
from models.torch_device import describe
from worker.celery_app import ShardMessage
from worker.handlers.dataset_drawing import drawing, prepare_generator, read_generator
from worker.handlers.shards import draw_shard
from worker.jobs.client import Order
from worker.jobs.model import JobStatus
from worker.settings import WorkerSettings

CPU = torch.device("cpu")
ORDER = DatasetOrder(per_class=20, test_per_class=4, seed=4, checkpoint=str(bundled.checkpoint()), verify=0.5)
PARTS = 6  # of four digits a class

Event = Callable[[], object]


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
    manifest, weights = read_generator(CheckpointStore(folder), ORDER)
    with drawing(ORDER, manifest, prepare_generator(weights, CPU), CPU) as draw:
        assert list(make(folder, ORDER, origin, draw))[-1] == ORDER.digits
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, device="cpu")


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts whose shards other workers stored, in order."""
    names, write = list[str](), Shards.write

    def note(self: Shards, part: Part, *arguments: object) -> bool:
        was_stored = write(self, part, *arguments)  # type: ignore[arg-type]
        names.extend([part.name] if was_stored else [])
        return was_stored

    monkeypatch.setattr(Shards, "write", note)
    return names


class Messages(list[ShardMessage]):
    """The messages of owners. Call it to receive one; `draw` draws those that are left, as another worker would."""

    def __call__(self, message: ShardMessage) -> None:
        self.append(message)

    def draw(self, settings: WorkerSettings, number: int = PARTS) -> None:
        for message in self[:number]:
            draw_shard(settings, message)
        del self[:number]


@pytest.fixture
def messages() -> Messages:
    return Messages()


def accept(settings: WorkerSettings, order: DatasetOrder = ORDER) -> str:
    return ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(TrainingConfig(), dataset=order))).id


def check(settings: WorkerSettings, job_id: str, alone: dict[str, str], helped: int) -> None:
    """Check that the files are right, the record counts all digits, and no shard is left."""
    job, store = ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id)), settings.open_store()
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert {name: hashlib.sha256(store.read_dataset(job_id, name)).hexdigest() for name in FILES} == alone
    assert job.progress
    assert (job.progress.batch, job.progress.batches) == (ORDER.digits, ORDER.digits)
    manifest = DatasetManifest.model_validate_json(store.read_dataset(job_id, MANIFEST))
    assert manifest.helpers == ({describe(CPU): helped} if helped else {})
    assert Shards(store, job_id).names() == set()


@pytest.fixture
def when_owner_has_drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Event], list[int]]:
    """Arrange an action after the owner has drawn a number of parts. Returns the first index of each part it draws."""
    drawn, actions, draw = list[int](), dict[int, Event](), DatasetDrawer.__call__

    def draw_and_act(self: DatasetDrawer, n: int, first: int) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(DatasetDrawer, "__call__", draw)  # the action may draw for another worker
            digits = self(n, first)
            drawn.append(first)
            actions.get(len(drawn), bool)()
        return digits

    def arrange(number: int, action: Event) -> list[int]:
        actions[number] = action
        return drawn

    monkeypatch.setattr(DatasetDrawer, "__call__", draw_and_act)
    return arrange


def part_names() -> list[str]:
    return [part.name for part in ORDER.parts]


def status(settings: WorkerSettings, job_id: str) -> JobStatus:
    return ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id)).status


def names_of_shards(settings: WorkerSettings, job_id: str) -> set[str]:
    return Shards(settings.open_store(), job_id).names()
