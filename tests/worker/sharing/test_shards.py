"""A data set with the help of other workers has the files that one worker makes."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.registry.store import CheckpointStore, Manifest
from models.synthesis.order import DatasetOrder, Part
from models.synthesis.shards import Shards
from tests.worker.sharing.conftest import ORDER, PARTS, Event, Messages, accept, check, part_names, status
from worker.celery_app import ShardMessage
from worker.handlers.dataset import Share
from worker.handlers.dataset_drawing import read_generator
from worker.handlers.shards import draw_shard
from worker.jobs.model import JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings

# ----------------------------------------------------------------------------
# The work of both.


def test_other_workers_can_draw_every_part(settings: WorkerSettings, alone: dict[str, str], stored: list[str]) -> None:
    job_id = accept(settings)
    run_next_job(settings, lambda message: draw_shard(settings, message))
    assert stored == part_names()
    check(settings, job_id, alone, PARTS - 1)  # the owner began with the last one


def test_the_owner_draws_from_the_other_end(
    settings: WorkerSettings,
    alone: dict[str, str],
    messages: Messages,
    when_owner_has_drawn: Callable[[int, Event], list[int]],
) -> None:
    """No part is drawn twice, except the one that both begin at the same time."""
    job_id = accept(settings)
    drawn = when_owner_has_drawn(1, lambda: messages.draw(settings, 3))
    run_next_job(settings, messages)
    assert drawn == [ORDER.parts[number].first for number in (5, 4, 3)]
    check(settings, job_id, alone, 3)


def test_a_small_order_is_drawn_by_one_worker(settings: WorkerSettings, messages: Messages) -> None:
    job_id = accept(settings, ORDER.model_copy(update={"per_class": 8}))
    run_next_job(settings, messages)
    assert messages == []
    assert status(settings, job_id) == JobStatus.SUCCEEDED


def test_a_shard_that_is_stored_is_not_drawn_again(
    settings: WorkerSettings, alone: dict[str, str], stored: list[str], messages: Messages
) -> None:
    """A message may be delivered twice."""
    job_id = accept(settings)

    def send(message: ShardMessage) -> None:
        for _ in range(3):
            draw_shard(settings, message)

    run_next_job(settings, send)
    assert stored == part_names()
    check(settings, job_id, alone, PARTS - 1)


def test_lost_messages_cost_only_help(settings: WorkerSettings, alone: dict[str, str], messages: Messages) -> None:
    job_id = accept(settings)
    run_next_job(settings, messages)
    assert [message.number for message in messages] == list(range(PARTS))
    check(settings, job_id, alone, 0)


# ----------------------------------------------------------------------------
# A message that does not fit the job.


@pytest.mark.parametrize(
    "change",
    [{"fence": 99}, {"generator_sha256": "0" * 64}, {"code_version": "0.0.0"}, {"device_type": "cuda"}, {"job": "x"}],
    ids=lambda change: next(iter(change)),
)
def test_a_message_that_differs_does_nothing(
    settings: WorkerSettings, alone: dict[str, str], stored: list[str], change: dict[str, str]
) -> None:
    job_id = accept(settings)
    run_next_job(settings, lambda message: draw_shard(settings, message._replace(**change)))  # type: ignore[arg-type]
    assert stored == []
    check(settings, job_id, alone, 0)


@pytest.mark.parametrize("field", ["read_generator", "code_version", "describe"])
def test_the_owner_uses_no_shard_that_was_drawn_otherwise(
    settings: WorkerSettings, alone: dict[str, str], stored: list[str], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """It checks itself which generator, version and device type drew a shard."""
    job_id = accept(settings)
    others = {"read_generator": other_generator, "code_version": lambda: "0.0.0", "describe": lambda _: "cuda:0 (H100)"}

    def send(message: ShardMessage) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(f"worker.handlers.shards.{field}", others[field])
            patch.setattr("models.synthesis.order.Provenance.draws_like", lambda *_: True)
            draw_shard(settings, message)

    run_next_job(settings, send)
    assert stored == part_names()
    check(settings, job_id, alone, 0)


def other_generator(store: CheckpointStore, order: DatasetOrder) -> tuple[Manifest, bytes]:
    manifest, weights = read_generator(store, order)
    record = manifest.files[manifest.draws].model_copy(update={"sha256": "0" * 64})
    return manifest.model_copy(update={"files": {**manifest.files, manifest.draws: record}}), weights


@pytest.mark.parametrize("content", [b"", b"\0" * 2000, b"{}\n" + b"\0" * 2000])
def test_the_owner_draws_damaged_shards_itself(settings: WorkerSettings, alone: dict[str, str], content: bytes) -> None:
    job_id = accept(settings)

    def send(message: ShardMessage) -> None:
        if message.number < 2:
            part = ORDER.parts[message.number]
            assert Shards(settings.open_store(), job_id).write(part, content, message.fence)

    run_next_job(settings, send)
    check(settings, job_id, alone, 0)


def test_a_worker_with_another_store_draws_nothing(
    settings: WorkerSettings, alone: dict[str, str], stored: list[str], tmp_path: Path
) -> None:
    job_id, other = accept(settings), settings.model_copy(update={"home": tmp_path / "elsewhere"})
    run_next_job(settings, lambda message: draw_shard(other, message))
    assert stored == []
    assert not (tmp_path / "elsewhere" / "checkpoints" / job_id).exists()
    check(settings, job_id, alone, 0)


def test_the_owner_waits_for_the_last_shard_no_longer_than_drawing_it_takes(
    settings: WorkerSettings,
    alone: dict[str, str],
    messages: Messages,
    when_owner_has_drawn: Callable[[int, Event], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other worker draws it then, in most cases."""
    waited, threads = list[float](), list[threading.Thread]()
    wait = Share.wait

    def help_late(self: Share, left: dict[str, Part], seconds: float) -> Iterator[Part]:
        threads.append(threading.Thread(target=messages.draw, args=(settings, 1)))
        threads[0].start()
        yield from wait(self, left, max(seconds, 60))
        waited.append(seconds)

    monkeypatch.setattr(Share, "wait", help_late)
    job_id = accept(settings)
    when_owner_has_drawn(1, lambda: messages.draw(settings, 3))
    drawn = when_owner_has_drawn(2, lambda: time.sleep(0.5))
    run_next_job(settings, messages)
    threads[0].join()
    assert drawn == [ORDER.parts[number].first for number in (5, 4, 3)], "the last one by the other worker"
    assert len(waited) == 1
    assert 0.5 < waited[0] < 60
    check(settings, job_id, alone, 4)
