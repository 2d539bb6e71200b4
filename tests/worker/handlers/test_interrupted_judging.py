"""A worker that shuts down while it judges an epoch."""

from collections.abc import Callable

import pytest

from models.config import TrainingConfig
from models.evaluation.quality_gate import QualityGate
from models.training.trainer import Trainer
from tests.worker.handlers.test_training import accept, read_job
from worker.jobs.model import JobStatus
from worker.lifecycle import shutdown
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url)


def test_a_worker_that_shuts_down_while_it_judges_saves_the_state_before(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judging takes much longer than an iteration. The epoch is tested and judged again, and nothing else."""

    def draw(self: QualityGate, *arguments: object) -> object:
        shutdown._requested.set()
        return really_draw(self, *arguments)

    def step(self: Trainer, epoch: int, iteration: int) -> None:
        trained.append((epoch, iteration))
        really_step(self, epoch, iteration)

    really_draw: Callable[..., object] = QualityGate.draw
    really_step = Trainer.step
    trained = list[tuple[int, int]]()
    monkeypatch.setattr("models.evaluation.quality_gate.FEW_DIGITS", 5)
    judging = settings.model_copy(update={"judge": True})
    undisturbed = accept(settings, config)
    run_next_job(judging)
    monkeypatch.setattr(Trainer, "step", step)
    job_id = accept(settings, config)
    monkeypatch.setattr(QualityGate, "draw", draw)
    handed_back = run_next_job(judging)
    assert handed_back is not None
    assert handed_back.id == job_id
    assert {epoch for epoch, _ in trained} == {1}
    assert read_job(settings, job_id).epochs == []
    monkeypatch.setattr(QualityGate, "draw", really_draw)
    shutdown._requested.clear()
    run_next_job(judging)
    jobs = read_job(settings, job_id), read_job(settings, undisturbed)
    assert [job.status for job in jobs] == [JobStatus.SUCCEEDED] * 2
    assert jobs[0].warnings == []
    assert [(each.losses, each.metrics) for each in jobs[0].epochs] == [
        (each.losses, each.metrics) for each in jobs[1].epochs
    ]
    assert len(trained) == len(set(trained)), "no iteration is repeated"
