"""An evaluation whose worker is killed in the middle: another one continues, with the figures of the command."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli.local.evaluation import evaluate_here
from app.settings import AppSettings
from models.config import TrainingConfig
from models.evaluation.evaluation_records import EvaluationOrder
from models.registry.evaluations import WORK, has_evaluation, read_evaluation
from models.registry.storage.base import Folder
from tests.app.conftest import publish_own
from tests.faults.world import LEASE_SECONDS, RECOVERY_SECONDS, World, running_world
from tests.models.registry.test_store import OLD
from tests.support.training_sets import bring
from worker.jobs.client import Order
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.faults
CLASSES = ("a", "b", "c")


def order(world: World, checkpoint: str) -> str:
    wanted = EvaluationOrder(checkpoint=checkpoint, effort="quick")
    entry = Order(TrainingConfig(dataset="bars@1"), dataset=wanted)
    return world.ask(lambda jobs: jobs.create(entry)).id


def kept(world: World, job_id: str) -> set[str]:
    folder = world.store.storage.workshop(Folder(job_id, WORK))
    return {path.stem for path in folder.glob("*.json")}


def figures(evaluation: Any) -> dict[str, Any]:
    found: dict[str, Any] = evaluation.model_dump(mode="json", exclude={"seconds"})
    return found


@pytest.mark.long
def test_an_evaluation_continues_after_its_worker_was_killed(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        checkpoint = publish_own(world.store, OLD, str(bring(world.store.training_data, "bars").reference), CLASSES)
        world.start_worker()
        job_id = order(world, checkpoint)
        world.until("generated images are compared", lambda: "generated-compared" in kept(world, job_id), 120)
        holder = world.trainer(job_id)
        assert holder is not None
        first = world.store.storage.workshop(Folder(job_id, WORK)) / "generated-compared.json"
        written = first.stat().st_mtime_ns
        world.kill(holder)
        world.until("it runs again", lambda: world.trainer(job_id) not in (None, holder), RECOVERY_SECONDS)
        world.ask(lambda jobs: jobs.cancel(job_id))
        assert world.until_ended(job_id, LEASE_SECONDS).status == JobStatus.CANCELLED
        assert not has_evaluation(world.store.storage, job_id)
        assert first.stat().st_mtime_ns == written
        world.ask(lambda jobs: jobs.resume(job_id))
        ended = world.until_ended(job_id, 180)
        assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)
        assert world.violations == [], world.story()
        assert world.broken_invariants() == [], world.story()
        settings = AppSettings(home=world.home, store=world.store.root, device="cpu")
        expected = evaluate_here(settings, checkpoint, None, True, None, Console(quiet=True))
        assert figures(read_evaluation(world.store.storage, job_id)) == figures(expected)
