"""`acgan up` whose worker is killed or gets SIGHUP: the interrupted run is next, long before its lease expires."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.running_service import Service, running

pytestmark = pytest.mark.faults
RUN = {"dataset": "printed", "epochs": 40, "batch_size": 4, "train_examples": 32, "test_examples": 8}


def running_by(service: Service, job_id: str) -> str | None:
    job = service.job(job_id)
    return str(job["worker"]) if job["status"] == "running" else None


def test_the_run_of_a_killed_or_hung_up_worker_is_next(tmp_path: Path) -> None:
    """Leases last ten minutes here; the recovery does not wait for one to expire."""
    with running(tmp_path / "home", ACGAN_LEASE_SECONDS="600", ACGAN_SAVE_SECONDS="0.5") as service:
        interrupted, waiting = service.train(**RUN), service.train(**{**RUN, "epochs": 1})
        before = service.until("it runs", lambda: running_by(service, interrupted))
        for sign in (signal.SIGKILL, signal.SIGHUP):
            os.kill(service.find("app.cli worker"), sign)
            service.until("it is queued", lambda: running_by(service, interrupted) is None, 30)
            now = service.until("it runs again", lambda: running_by(service, interrupted), 120)
            assert now != before
            before = now
            assert service.job(waiting)["started_at"] is None
        assert service.until_ended(interrupted)["status"] == "succeeded"
        assert service.until_ended(waiting)["status"] == "succeeded"
        assert "its worker has ended; the job is queued again" in service.log.read_text()
