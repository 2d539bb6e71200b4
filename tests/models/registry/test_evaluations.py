"""Evaluations in the store, in a folder and in a bucket: the list of them is made again from the results."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.api.openapi.evaluation_example import example
from app.inference.known_store import KnownStore
from app.inference.serving_target import TargetFinder
from models.evaluation.evaluation_records import Evaluation, FiguresNotFinite
from models.registry import evaluations
from models.registry.evaluations import (
    LIST,
    LIST_LIMIT,
    Evaluated,
    EvaluationList,
    has_evaluation,
    list_evaluation,
    listed_evaluations,
    publish_evaluation,
    read_evaluation,
)
from models.registry.removal import delete_run
from models.registry.serving_policy import ServingPolicy, write_choice
from models.registry.storage.reading import seal
from models.registry.store import CheckpointId, CheckpointStore, FenceRejected
from tests.models.registry.test_store import FILES, OLD, damage_inside, inside, manifest
from tests.support.s3_endpoint import PATIENT_SECONDS, Endpoint, open_store

FIRST, SECOND = CheckpointId(OLD, 1), CheckpointId(OLD, 2)


@pytest.fixture
def store(open_it: Callable[[], CheckpointStore]) -> CheckpointStore:
    """Two checkpoints. The first was evaluated twice."""
    store = open_it()
    for epoch in (1, 2):
        store.publish(manifest(epoch=epoch), FILES)
    for number, distance in ((1, 0.5), (2, 0.25)):
        publish(store, number, FIRST, distance)
    return store


def job(number: int) -> str:
    return f"20260105-000000-{number:06x}"


def with_distance(checkpoint: CheckpointId, distance: float) -> Evaluation:
    found = example(str(checkpoint))
    return found.model_copy(update={"generator": found.generator.model_copy(update={"frechet_distance": distance})})


def publish(store: CheckpointStore, number: int, checkpoint: CheckpointId, distance: float = 0.1) -> None:
    publish_evaluation(store, job(number), 0, "full", with_distance(checkpoint, distance), b"picture")


def listed(store: CheckpointStore) -> list[tuple[str, str, float]]:
    return [(each.job, each.checkpoint, each.frechet_distance) for each in listed_evaluations(store.storage)]


NEWER = json.dumps({"evaluations": {"by_checkpoint": {}}}).encode()


@pytest.mark.parametrize("content", [b"{", b"", bytes(LIST_LIMIT + 1), NEWER, None])
def test_a_list_that_cannot_be_used_is_made_again(store: CheckpointStore, content: bytes | None) -> None:
    damage_inside(store, LIST, content)
    publish(store, 3, SECOND)
    assert listed(store) == [(job(2), str(FIRST), 0.25), (job(3), str(SECOND), 0.1)]
    assert read_evaluation(store.storage, job(3)).checkpoint == str(SECOND)


def test_a_damaged_result_is_not_listed_again(store: CheckpointStore, caplog: pytest.LogCaptureFixture) -> None:
    damage_inside(store, LIST, b"{")
    damage_inside(store, f"{job(2)}/evaluation/result.json", b"{}")
    publish(store, 3, SECOND)
    assert listed(store) == [(job(1), str(FIRST), 0.5), (job(3), str(SECOND), 0.1)]
    assert f"the evaluation {job(2)} is not listed: result.json" in caplog.text


def test_a_list_beyond_its_limit_loses_deleted_checkpoints_then_the_oldest(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Evaluated.of(job(1), "full", with_distance(FIRST, 0.25))
    monkeypatch.setattr(evaluations, "LIST_LIMIT", len(seal(EvaluationList(evaluations=[entry] * 3))))
    publish(store, 3, CheckpointId(OLD, 3))  # of a checkpoint that is gone
    publish(store, 4, SECOND)
    assert [each[0] for each in listed(store)] == [job(2), job(3), job(4)]
    store.publish(manifest(epoch=4), FILES)
    publish(store, 5, CheckpointId(OLD, 4))
    assert [each[0] for each in listed(store)] == [job(2), job(4), job(5)]
    store.publish(manifest(epoch=5), FILES)
    publish(store, 6, CheckpointId(OLD, 5))
    assert [each[0] for each in listed(store)] == [job(4), job(5), job(6)]
    assert len(inside(store, LIST)) <= evaluations.LIST_LIMIT


def publish_without_listing(store: CheckpointStore, number: int, checkpoint: CheckpointId, distance: float) -> None:
    """Publish as a worker does that ends immediately before it changes the list."""
    change = store.storage.change

    def fail(name: str, how: Callable[[bytes | None], bytes | None]) -> None:
        if name == LIST:
            raise OSError(errno.EIO, "Input/output error")
        change(name, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.storage, "change", fail)
        with pytest.raises(OSError, match="Input/output"):
            publish(store, number, checkpoint, distance)


def test_a_stored_result_is_added_to_the_list_once(store: CheckpointStore) -> None:
    before = listed(store)
    publish_without_listing(store, 3, SECOND, 0.1)
    assert has_evaluation(store.storage, job(3))
    assert listed(store) == before
    list_evaluation(store, job(3), 0)
    assert listed(store) == [*before, (job(3), str(SECOND), 0.1)]
    data = inside(store, LIST)
    for number in (2, 3):
        list_evaluation(store, job(number), 0)
    assert inside(store, LIST) == data


def test_a_stored_result_is_added_before_newer_ones_and_replaces_none(store: CheckpointStore) -> None:
    publish_without_listing(store, 3, SECOND, 0.1)
    publish_without_listing(store, 4, FIRST, 0.1)
    publish(store, 5, FIRST, 0.3)
    list_evaluation(store, job(3), 0)
    list_evaluation(store, job(4), 0)
    assert listed(store) == [(job(3), str(SECOND), 0.1), (job(5), str(FIRST), 0.3)]


def test_the_first_stored_result_is_added_to_a_list_that_is_missing(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    publish_without_listing(store, 1, FIRST, 0.5)
    list_evaluation(store, job(1), 0)
    assert listed(store) == [(job(1), str(FIRST), 0.5)]


def test_a_worker_that_has_lost_its_job_adds_nothing_to_the_list(store: CheckpointStore) -> None:
    before = listed(store)
    publish_without_listing(store, 3, SECOND, 0.1)
    store.take(job(3), 2)
    with pytest.raises(FenceRejected):
        list_evaluation(store, job(3), 1)
    assert listed(store) == before


@pytest.mark.parametrize("of", ["generator", "real"])
@pytest.mark.parametrize("field", ["frechet_distance", "variety", "variety_intervals"])
def test_figures_that_json_cannot_hold_are_refused_before_anything_is_stored(
    store: CheckpointStore, of: str, field: str
) -> None:
    wrong = {"frechet_distance": float("inf"), "variety": [1.0, float("nan")], "variety_intervals": [(0, float("nan"))]}
    found = example(str(SECOND))
    figures = getattr(found, of).model_copy(update={field: wrong[field]})
    with pytest.raises(FiguresNotFinite, match=f"are not finite numbers: {field}. Perhaps"):
        publish_evaluation(store, job(3), 0, "full", found.model_copy(update={of: figures}), b"picture")
    assert not has_evaluation(store.storage, job(3))
    assert len(listed(store)) == 1


# ----------------------------------------------------------------------------
# The best checkpoint by evaluations, which each API process looks for once a second.


def follow_best(store: CheckpointStore) -> TargetFinder:
    write_choice(store, ServingPolicy(policy="best", by="evaluation"))
    return TargetFinder(KnownStore(store), first=None)


def test_the_best_follows_publications_and_deletions_of_evaluations(store: CheckpointStore) -> None:
    publish(store, 3, SECOND, distance=0.3)
    finder = follow_best(store)
    assert finder.find(None) == (FIRST, [])
    publish(store, 4, SECOND, distance=0.1)
    assert finder.find(None) == (SECOND, [])
    delete_run(store, job(4))
    assert finder.find(None) == (FIRST, [])
    damage_inside(store, LIST, b"{")
    found = finder.find(None)
    assert found.checkpoint == FIRST
    assert "the best checkpoint stays the same" in " ".join(found.problems)
    publish(store, 5, SECOND, distance=0.2)
    assert finder.find(None) == (SECOND, [])
    delete_run(store, job(5))
    delete_run(store, job(2))
    assert finder.find(None) == (SECOND, [])  # the newest: no checkpoint has an evaluation or metrics


def test_in_a_bucket_only_the_best_evaluation_is_looked_at_every_second(endpoint: Endpoint, tmp_path: Path) -> None:
    store = open_store(endpoint.address(), tmp_path, seconds=PATIENT_SECONDS)
    for epoch in range(1, 7):
        store.publish(manifest(epoch=epoch), FILES)
        publish(store, epoch, CheckpointId(OLD, epoch), distance=abs(epoch - 4))
    finder = follow_best(store)
    assert finder.find(None) == (CheckpointId(OLD, 4), [])
    before = len(endpoint.requests)
    assert finder.find(None) == (CheckpointId(OLD, 4), [])
    names = {path.rpartition("/")[2] for _, path in endpoint.requests[before:]}
    assert names == {"store.json", "latest.json", "serving.json", LIST, f"{OLD}.json", f"{job(4)}.json"}
