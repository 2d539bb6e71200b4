"""A bucket that is away, slow or unreliable while a job runs: what a full disk is to a folder, and network faults.

No published checkpoint is harmed, nothing is published twice or torn, and the run continues when the bucket answers.
"""

import contextlib
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from models.registry.store import DISCRIMINATOR, GENERATOR, MANIFEST
from tests.faults.world import Outcome, World, check, half_done, is_alive
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
    here: World, endpoint: Endpoint, undisturbed: Outcome, how: str
) -> None:
    job_id = here.accept(epochs=3)
    here.until("a first epoch", lambda: here.job(job_id).epochs)
    with away(endpoint, how):
        here.note("the bucket is away")
        trouble = here.until("the record has a trouble", lambda: here.job(job_id).trouble)
        assert "cannot be published" in trouble
        assert here.job(job_id).status == JobStatus.RUNNING
    here.note("the bucket is back")
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    assert here.job(job_id).trouble is None
    check(here, [job_id], undisturbed)


@pytest.mark.bucket
@pytest.mark.parametrize("how", ["refuse", "hang", "gone"])
def test_a_job_whose_bucket_is_away_can_be_cancelled_and_resumed(
    here: World, endpoint: Endpoint, undisturbed: Outcome, how: str
) -> None:
    job_id = here.accept(epochs=3)
    here.until("a first epoch", lambda: here.job(job_id).epochs)
    with away(endpoint, how):
        here.until("the record has a trouble", lambda: here.job(job_id).trouble)
        here.ask(lambda jobs: jobs.cancel(job_id))
        assert here.until_ended(job_id, 20).status == JobStatus.CANCELLED
    here.ask(lambda jobs: jobs.resume(job_id))
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.bucket
@pytest.mark.parametrize("how", ["refuse", "hang", "gone"])
def test_a_job_submitted_while_the_bucket_is_away_waits(
    here: World, endpoint: Endpoint, undisturbed: Outcome, how: str
) -> None:
    here.supervised = True
    with away(endpoint, how):
        job_id = here.accept(epochs=1)
        here.until("no worker can claim it", lambda: "no job is taken" in here.log.read_text())
        here.pause(5)
        assert here.job(job_id).status == JobStatus.QUEUED
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


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
    here: World, endpoint: Endpoint, undisturbed: Outcome
) -> None:
    with bad_line(endpoint):
        job_id = here.accept()
        assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.parametrize(
    "part",
    [
        MANIFEST,
        *(pytest.param(part, marks=pytest.mark.bucket) for part in (GENERATOR, DISCRIMINATOR, "ledgers", "latest")),
    ],
)
def test_a_request_of_a_killed_process_that_arrives_after_another_has_the_job_changes_nothing(
    here: World, endpoint: Endpoint, undisturbed: Outcome, part: str
) -> None:
    """A network may deliver a request after its sender has died."""
    job_id = here.accept(epochs=3)
    here.until("a first epoch", lambda: here.job(job_id).epochs)
    with endpoint.fault("hold", "PUT", part, times=1) as fault:
        here.until("the request was sent", fault.began.is_set)
        killed = here.until_running(job_id)
        here.kill(killed, signal.SIGKILL)
        here.until("it is dead", lambda: not is_alive(killed))
        here.until("another runs it", lambda: (here.trainer(job_id) or killed) != killed, 30)
    here.note("what was held arrives")
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)
    assert half_done(here.store, job_id) == []
