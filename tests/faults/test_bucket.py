"""A bucket that is away, slow or unreliable while a job runs: what a full disk is to a folder, and network faults.

No published checkpoint is harmed, nothing is published twice or torn, and the run continues when the bucket answers.
"""

import contextlib
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from models.registry.store import DISCRIMINATOR, GENERATOR, MANIFEST
from tests.faults.world import Outcome, World, check, is_alive, staged_files
from tests.support.s3_endpoint import Endpoint, Kind
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.parametrize("place", ["bucket"], indirect=True)


def away(endpoint: Endpoint, how: str) -> AbstractContextManager[object]:
    match how:
        case "gone":
            return endpoint.gone()
        case "hang":
            return endpoint.fault("hang")
        case _:
            return endpoint.fault("refuse")


OTHERS = [pytest.param(how, marks=pytest.mark.bucket) for how in ("hang", "gone")]


@pytest.mark.parametrize("how", [pytest.param("refuse", marks=pytest.mark.long), *OTHERS])
def test_a_bucket_that_is_away_delays_a_run_and_harms_nothing(
    world: World, endpoint: Endpoint, undisturbed: Outcome, how: str
) -> None:
    job_id = world.accept(epochs=4)
    world.until("a first epoch", lambda: world.job(job_id).epochs)
    with away(endpoint, how):
        world.note("the bucket is away")
        world.until("the record has the trouble", lambda: "cannot be published" in (world.job(job_id).trouble or ""))
        assert world.job(job_id).status == JobStatus.RUNNING
    world.note("the bucket is back")
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    assert world.job(job_id).trouble is None
    check(world, [job_id], undisturbed)


@pytest.mark.bucket
@pytest.mark.parametrize("how", ["refuse", "hang", "gone"])
def test_a_job_whose_bucket_is_away_can_be_cancelled_and_resumed(
    world: World, endpoint: Endpoint, undisturbed: Outcome, how: str
) -> None:
    job_id = world.accept(epochs=4)
    world.until("a first epoch", lambda: world.job(job_id).epochs)
    with away(endpoint, how):
        world.until("the record has a trouble", lambda: world.job(job_id).trouble)
        world.ask(lambda jobs: jobs.cancel(job_id))
        assert world.until_ended(job_id, 20).status == JobStatus.CANCELLED
    world.ask(lambda jobs: jobs.resume(job_id))
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.bucket
@pytest.mark.parametrize("how", ["refuse", "hang", "gone"])
def test_a_job_submitted_while_the_bucket_is_away_waits(
    world: World, endpoint: Endpoint, undisturbed: Outcome, how: str
) -> None:
    world.supervised = True
    with away(endpoint, how):
        job_id = world.accept(epochs=1)
        world.until("no worker can claim it", lambda: "no job is taken" in world.log.read_text())
        world.pause(5)
        assert world.job(job_id).status == JobStatus.QUEUED
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@contextmanager
def bad_line(endpoint: Endpoint) -> Iterator[None]:
    """Some requests of each kind are refused, torn, answered late, or carried out with a lost response."""
    kinds: list[tuple[Kind, int]] = [("refuse", 7), ("lose", 9), ("tear", 11), ("cut", 13), ("slow", 3)]
    with contextlib.ExitStack() as faults:
        made = [faults.enter_context(endpoint.fault(kind, every=every)) for kind, every in kinds]
        yield
        assert all(fault.happened for fault in made)


@pytest.mark.bucket
def test_a_run_over_an_unreliable_network_has_the_same_result(
    world: World, endpoint: Endpoint, undisturbed: Outcome
) -> None:
    with bad_line(endpoint):
        job_id = world.accept()
        assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.parametrize(
    "part",
    [
        MANIFEST,
        *(pytest.param(part, marks=pytest.mark.bucket) for part in (GENERATOR, DISCRIMINATOR, "ledgers", "latest")),
    ],
)
def test_a_request_of_a_killed_process_that_arrives_after_another_has_the_job_changes_nothing(
    world: World, endpoint: Endpoint, undisturbed: Outcome, part: str
) -> None:
    """A network may deliver a request after its sender has died."""
    job_id = world.accept(epochs=4)
    world.until("a first epoch", lambda: world.job(job_id).epochs)
    with endpoint.fault("hold", "PUT", part, times=1) as fault:
        world.until("the request was sent", fault.began.is_set)
        killed = world.until_running(job_id)
        world.kill(killed, signal.SIGKILL)
        world.until("it is dead", lambda: not is_alive(killed))
        world.until("another runs it", lambda: (world.trainer(job_id) or killed) != killed, 30)
    world.note("what was held arrives")
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)
    assert staged_files(world.store, job_id) == []
