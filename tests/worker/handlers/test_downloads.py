"""A worker that downloads training data: the job keeps its lease, and can be cancelled or handed back meanwhile."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from models.data.catalog import DATASETS
from models.file_locks import try_lock
from tests.conftest import small
from tests.models.data.test_download_lock import WAITS
from tests.models.data.test_idx_source import Mirror
from tests.models.data.test_published_sets import Published, fashion
from tests.worker.conftest import cancel_during_run, keep_leases, until
from tests.worker.handlers.test_training import accept, read_job
from worker.jobs.model import JobStatus
from worker.lifecycle import lease, shutdown
from worker.lifecycle.lease import STALLED_SECONDS
from worker.runner import run_next_job
from worker.settings import WorkerSettings

__all__ = ["fashion"]
NAME = "fashion_mnist"

Answer = Callable[[str], Iterator[bytes]]


@pytest.fixture
def settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    """Of a worker that finds no training data on its machine, and that a test does not end."""
    monkeypatch.setattr(lease, "GRACE_SECONDS", 60.0)
    return WorkerSettings(redis_url=redis_url).model_copy(update={"data_dir": None})


def publish_at(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, NAME, DATASETS[NAME]._replace(mirrors=(mirror,)))


def test_a_download_may_take_longer_than_a_job_may_stall(
    settings: WorkerSettings, fashion: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only while the server sends the first file, four seconds without a check count as a stall."""

    def slowly(path: str) -> Iterator[bytes]:
        data = fashion.answers[path]
        yield data[:100]
        if "train-images" in path:
            monkeypatch.setattr(lease, "STALLED_SECONDS", 4.0)
            time.sleep(8.0)
            monkeypatch.setattr(lease, "STALLED_SECONDS", STALLED_SECONDS)
        yield data[100:]

    with Mirror(slowly) as mirror:
        publish_at(mirror, monkeypatch)
        job_id = accept(settings, small(NAME))
        run_next_job(settings)
    job = read_job(settings, job_id)
    assert (job.status, len(job.epochs)) == (JobStatus.SUCCEEDED, 2)


@pytest.mark.parametrize("waits_for", ["the server", "another process"])
@pytest.mark.parametrize("end", [JobStatus.CANCELLED, JobStatus.QUEUED])
def test_a_job_that_waits_for_training_data_can_be_cancelled_and_handed_back(
    settings: WorkerSettings,
    fashion: Published,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    waits_for: str,
    end: JobStatus,
) -> None:
    has_begun, is_over, leases = threading.Event(), threading.Event(), keep_leases(monkeypatch)
    cache = settings.cache_dir / NAME
    cache.mkdir(parents=True)

    def answer(path: str) -> Iterator[bytes]:
        yield fashion.answers[path][:100]
        has_begun.set()
        is_over.wait(60)

    with Mirror(answer) as mirror, (cache / ".downloading").open("wb") as held, caplog.at_level(logging.INFO):
        publish_at(mirror, monkeypatch)
        if waits_for == "another process":
            assert try_lock(held.fileno())
        job_id = accept(settings, small(NAME))
        worker = threading.Thread(target=run_next_job, args=(settings,))
        worker.start()
        until(lambda: has_begun.is_set() or WAITS in caplog.text)
        if end == JobStatus.CANCELLED:
            cancel_during_run(settings, job_id, leases)
        else:
            shutdown._requested.set()
        worker.join(60)
        is_over.set()
    assert not worker.is_alive()
    assert read_job(settings, job_id).status == end
    assert has_begun.is_set() == (waits_for == "the server")
    assert [path.name for path in cache.iterdir() if path.name != ".downloading"] == []
