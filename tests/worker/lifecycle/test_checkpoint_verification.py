"""The record of an ended job says which of its checkpoints are damaged or missing."""

from pathlib import Path
from typing import Any

import pytest

from models.registry.storage.base import Unreachable
from models.registry.store import GENERATOR, MANIFEST, CheckpointId, CheckpointStore
from tests.models.registry.test_store import FILES, NEW
from tests.support import records
from tests.worker.conftest import Ask, accept
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import Job, JobStatus
from worker.lifecycle.budget import checkpoints_among
from worker.lifecycle.checkpoint_verification import find_damage


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "store")
    store.take(NEW, 1)
    for epoch in (1, 2, 3):
        store.publish(records.manifest(NEW, epoch, fence=1), FILES)
    return store


def damage(store: CheckpointStore, epoch: int, name: str) -> None:
    path = store.folder(CheckpointId(NEW, epoch)) / name
    path.write_bytes(b"x" + path.read_bytes()[1:])


def report_of(store: CheckpointStore, *epochs: int, seconds: float = 30.0) -> str:
    return find_damage(store, NEW, epochs, lambda: None, seconds)


def test_nothing_is_reported_if_all_files_verify(store: CheckpointStore) -> None:
    assert report_of(store, 1, 2, 3) == ""


def test_damaged_and_missing_checkpoints_are_named(store: CheckpointStore) -> None:
    damage(store, 1, GENERATOR)
    damage(store, 2, MANIFEST)
    store.storage.remove(CheckpointId(NEW, 3).folder)
    sentence = report_of(store, 1, 2, 3)
    assert "epoch 1: generator.safetensors" in sentence
    assert "epoch 2: the manifest" in sentence
    assert "epoch 3: there is no checkpoint" in sentence
    assert "and 2 more" in report_of(store, 1, 2, 3, 4, 5)


def test_after_the_time_limit_only_manifests_are_read(store: CheckpointStore) -> None:
    damage(store, 1, GENERATOR)
    assert report_of(store, 1, seconds=0) == ""
    damage(store, 1, MANIFEST)
    assert report_of(store, 1, seconds=0) != ""


def test_a_worker_that_shuts_down_meanwhile_reads_only_manifests(store: CheckpointStore) -> None:
    damage(store, 1, GENERATOR)
    damage(store, 2, MANIFEST)
    sentence = find_damage(store, NEW, (1, 2), lambda: None, is_urgent=lambda: True)
    assert "epoch 2: the manifest" in sentence
    assert "epoch 1" not in sentence


def test_a_store_that_does_not_answer_is_named(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> bytes:
        raise Unreachable("the store did not answer within 30 s")

    monkeypatch.setattr(store.storage, "read", hang)
    assert report_of(store, 1, 2) == "the checkpoints could not be verified: the store did not answer within 30 s"


def test_the_record_keeps_the_faults_of_its_results(consumer: JobConsumer, ask: Ask[Job]) -> None:
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    consumer.set_trouble(claim, "the disk is full")
    consumer.finish(claim, JobStatus.SUCCEEDED, trouble="epoch 1: its checksum differs")
    job = ask(lambda jobs: jobs.get(job_id))
    assert (job.status, job.trouble) == (JobStatus.SUCCEEDED, "epoch 1: its checksum differs")
    entries: Any = consumer.redis.xrange("acgan:events")
    kinds = [fields["kind"] for _, fields in entries]
    assert kinds[-2:] == ["trouble", "status"]  # followers stop at the status


def test_checkpoints_deleted_by_the_budget_are_not_reported(consumer: JobConsumer, ask: Ask[Job]) -> None:
    job_id = accept(ask).id
    deleted = checkpoints_among([f"{job_id}-e002", f"the resume state of {job_id}", f"{NEW}-e001"])
    consumer.note_thinned(deleted)
    assert consumer.thinned(job_id) == {2}
    assert consumer.thinned(NEW) == set()
    assert not consumer.redis.exists(f"acgan:job:{NEW}")  # no record is created for a job without one
    assert ask(lambda jobs: jobs.get(job_id)).id == job_id
