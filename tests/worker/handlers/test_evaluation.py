"""A job that evaluates a checkpoint: the figures of the command, and what remains after a stop."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli.display.evaluation_table import tabulate
from app.cli.local.evaluation import evaluate_here
from app.settings import AppSettings
from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.data.building.built import Arrays, Built
from models.evaluation import classifier, judge
from models.evaluation.evaluation_records import EvaluationOrder, Figures
from models.evaluation.evaluator import EFFORTS, EvaluationBudget
from models.registry.evaluations import (
    LIST,
    PICTURE,
    WORK,
    best_evaluated,
    has_evaluation,
    listed_evaluations,
    read_evaluation,
    read_evaluation_file,
)
from models.registry.removal import delete_run
from models.registry.storage.base import Folder
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_own
from tests.models.registry.test_store import OLD
from tests.support.stores import best
from tests.support.training_sets import bring, splits
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import Job, JobStatus
from worker.lifecycle import shutdown
from worker.runner import run_next_job

CLASSES = ("a", "b", "c")


@pytest.fixture
def settings(redis_url: str) -> AppSettings:
    return AppSettings(redis_url=redis_url, device="cpu")


@pytest.fixture
def store(settings: AppSettings) -> CheckpointStore:
    return settings.open_store()


@pytest.fixture
def checkpoint(store: CheckpointStore) -> str:
    return publish_own(store, OLD, str(bring(store.training_data, "bars").reference), CLASSES)


def order(settings: AppSettings, checkpoint: str) -> str:
    wanted = EvaluationOrder(checkpoint=checkpoint, effort="quick")
    config = TrainingConfig(dataset="bars@1")
    return ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config, dataset=wanted))).id


def job_of(settings: AppSettings, job_id: str) -> Job:
    return ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id))


def figures(evaluation: Any) -> dict[str, Any]:
    found: dict[str, Any] = evaluation.model_dump(mode="json", exclude={"seconds"})
    return found


def test_a_job_has_the_figures_of_the_command(settings: AppSettings, store: CheckpointStore, checkpoint: str) -> None:
    job_id = order(settings, checkpoint)
    run_next_job(settings)
    job = job_of(settings, job_id)
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert job.progress is not None
    assert job.progress.batch == job.progress.batches
    found = read_evaluation(store.storage, job_id)
    assert (found.checkpoint, found.dataset, found.effort) == (checkpoint, "bars@1", "quick")
    assert figures(found) == figures(evaluate_here(settings, checkpoint, None, True, None, Console(quiet=True)))
    assert read_evaluation_file(store.storage, job_id, PICTURE).startswith(b"\x89PNG")
    assert not (store.storage.workshop(Folder(job_id, WORK))).exists()
    for name, value in Figures.model_fields.items():  # every measured figure has an interval, or is a spread
        if value.annotation is float:
            assert f"{name}_interval" in Figures.model_fields, name
            low, high = getattr(found.generator, f"{name}_interval")
            assert low <= getattr(found.generator, name) <= high
    table = tabulate(found)
    assert table.caption is not None
    assert "95 % intervals" in table.caption
    printed = {row[0].strip(): row[1:] for row in table.rows()}
    low, high = found.generator.frechet_distance_interval
    assert f"{low:.3f} - {high:.3f}" in printed["Frechet distance"][0]
    assert printed["digits of each pupil"] == ["3000", "60"]


def test_an_evaluation_that_was_stopped_keeps_its_finished_steps(
    settings: AppSettings, store: CheckpointStore, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = order(settings, checkpoint)
    train, trained = classifier.train, list[int]()

    def stop_at_the_last_pupil(*args: Any, **named: Any) -> Any:
        trained.append(named["seed"])
        if trained == [1, 101, 101]:  # the judge, the pupil of real digits, that of generated ones
            shutdown._requested.set()
        return train(*args, **named)

    monkeypatch.setattr(classifier, "train", stop_at_the_last_pupil)
    try:
        run_next_job(settings)
    finally:
        shutdown._requested.clear()
    assert job_of(settings, job_id).status == JobStatus.QUEUED
    assert not has_evaluation(store.storage, job_id)
    kept = {path.stem for path in store.storage.workshop(Folder(job_id, WORK)).iterdir()}
    assert "generated-compared" in kept
    run_next_job(settings)
    assert job_of(settings, job_id).status == JobStatus.SUCCEEDED
    assert trained[3:] == [101]
    expected = figures(evaluate_here(settings, checkpoint, None, True, None, Console(quiet=True)))
    assert figures(read_evaluation(store.storage, job_id)) == expected


def test_an_evaluation_that_was_stored_but_not_listed_is_listed_by_the_next_attempt(
    settings: AppSettings, store: CheckpointStore, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = order(settings, checkpoint)
    change = FilesystemStorage.change

    def fail(storage: FilesystemStorage, name: str, how: Callable[[bytes | None], bytes | None]) -> None:
        if name == LIST:
            raise OSError(errno.EIO, "Input/output error")
        change(storage, name, how)

    with monkeypatch.context() as broken:
        broken.setattr(FilesystemStorage, "change", fail)
        run_next_job(settings)
    assert job_of(settings, job_id).status == JobStatus.FAILED
    assert has_evaluation(store.storage, job_id)
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    assert job_of(settings, job_id).status == JobStatus.SUCCEEDED
    assert [each.job for each in listed_evaluations(store.storage)] == [job_id]


def test_steps_of_another_environment_are_computed_again(
    settings: AppSettings, store: CheckpointStore, checkpoint: str
) -> None:
    job_id = order(settings, checkpoint)
    work = store.storage.workshop(Folder(job_id, WORK))
    work.mkdir(parents=True)
    (work / "generated-pupil-1.json").write_text(
        json.dumps({"identity": "other", "figures": {"accuracy": 1, "lessons": 7}})
    )
    run_next_job(settings)
    assert read_evaluation(store.storage, job_id).generator.lessons == 3000


def test_figures_of_another_judge_are_computed_again(
    settings: AppSettings, store: CheckpointStore, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that is lost is trained again, here with another seed, as it may be on another device."""
    budget = EvaluationBudget(digits=20, lessons=50, pupils=1, epochs=1)
    monkeypatch.setitem(EFFORTS, "quick", budget)
    monkeypatch.setattr("app.cli.local.evaluation.QUICK", budget)
    job_id = order(settings, checkpoint)

    def stop(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("worker.handlers.evaluation.draw_evaluation", stop)
        run_next_job(settings)
    assert job_of(settings, job_id).status == JobStatus.FAILED
    assert len(list(store.storage.workshop(Folder(job_id, WORK)).glob("generated-*.json"))) == 2
    (settings.judges_dir / next(settings.judges_dir.glob("*-reporting.safetensors"))).unlink()
    monkeypatch.setitem(judge.SEEDS, "reporting", 7)
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    assert job_of(settings, job_id).status == JobStatus.SUCCEEDED
    for path in settings.judges_dir.glob("*-real-*"):
        path.unlink()
    expected = figures(evaluate_here(settings, checkpoint, None, True, None, Console(quiet=True)))
    assert figures(read_evaluation(store.storage, job_id)) == expected


def test_the_best_goes_by_evaluations_only_if_the_policy_says_so(
    settings: AppSettings, store: CheckpointStore, checkpoint: str
) -> None:
    other = publish_own(store, OLD, "bars@1", CLASSES, epoch=2, metrics={"frechet_distance": 0.5})
    assert str(best(store, "bars")) == other
    assert str(best(store, "bars", "evaluation")) == other  # none is evaluated
    job_id = order(settings, checkpoint)
    run_next_job(settings)
    (entry,) = listed_evaluations(store.storage)
    assert (entry.job, entry.checkpoint, entry.effort) == (job_id, checkpoint, "quick")
    assert str(best(store, "bars")) == other
    assert str(best(store, "bars", "evaluation")) == checkpoint
    better = entry.model_copy(update={"checkpoint": other, "frechet_distance": entry.frechet_distance - 1e-6})
    assert str(best_evaluated(store.manifests(), [entry, better], "bars")) == other
    full = entry.model_copy(update={"effort": "full", "frechet_distance": 2 * entry.frechet_distance})
    assert str(best_evaluated(store.manifests(), [better, full], "bars")) == checkpoint
    consumer = JobConsumer.connect(settings.redis_url)
    delete_run(store, job_id, consumer.claims())
    consumer.close()
    assert listed_evaluations(store.storage) == []
    assert str(best(store, "bars", "evaluation")) == other


def bring_arrays(store: CheckpointStore, arrays: Arrays, classes: tuple[str, ...]) -> str:
    """Store these arrays as training data, and a checkpoint of them. Returns the checkpoint's id."""
    built = Built(arrays, classes, "a test", options={}, warnings=(), skipped=0, chunks=Path())
    data = store.training_data.publish("bars", built, b"preview")[0]
    return publish_own(store, OLD, str(data.reference), classes)


def test_two_test_images_of_each_class_suffice(
    settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one of a class, its variety is not defined; four in all have fewer neighbours than the figures use."""
    monkeypatch.setitem(EFFORTS, "quick", EvaluationBudget(digits=20, lessons=50, pupils=1, epochs=1))
    job_id = order(settings, bring_arrays(store, splits(2, train=20, test=4), ("a", "b")))
    run_next_job(settings)
    assert (job_of(settings, job_id).status, job_of(settings, job_id).error) == (JobStatus.SUCCEEDED, None)
    found = read_evaluation(store.storage, job_id)
    for value, (low, high) in zip(found.real.variety, found.real.variety_intervals, strict=True):
        assert low == pytest.approx(value) == high
    assert "95 % intervals" in str(tabulate(found).caption)


def test_figures_that_are_not_finite_fail_the_job_with_a_reason_and_nothing_is_stored(
    settings: AppSettings, store: CheckpointStore
) -> None:
    arrays = splits(2, train=20, test=6)
    arrays.train_images[arrays.train_labels == 1] = arrays.train_images[1]
    job_id = order(settings, bring_arrays(store, arrays, ("a", "b")))
    run_next_job(settings)
    job = job_of(settings, job_id)
    assert job.status == JobStatus.FAILED
    assert "variety, variety_intervals, variety_mean, variety_mean_interval. Perhaps all training images" in str(
        job.error
    )
    assert not has_evaluation(store.storage, job_id)
    assert not list(settings.judges_dir.glob("*-real-*"))
    assert not [path for path in store.storage.workshop(Folder(job_id, WORK)).rglob("*") if path.is_file()]
