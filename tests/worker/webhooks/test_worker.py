"""A real worker process sends the messages."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.webhook_receiver import SECRET
from tests.worker.conftest import until
from tests.worker.webhooks.conftest import Office


def test_a_worker_process_delivers_the_message_and_logs_no_secret(
    office: Office, redis_url: str, tmp_path: Path
) -> None:
    """The job requires a GPU, so that this worker does not take it before it is cancelled."""
    variables = {
        "ACGAN_REDIS_URL": redis_url,
        "ACGAN_DEVICE": "cpu",
        "ACGAN_WEBHOOK_HOSTS": f"127.0.0.1:{office.receiver.port}",
        "ACGAN_WEBHOOK_SECRET": SECRET,
        "ACGAN_WEBHOOK_CA": str(office.receiver.ca),
        "ACGAN_LOG_LEVEL": "debug",
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker"],
            env=os.environ | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        job = office.accept(office.receiver.url(target="/hook?token=abcdef"), runs_on="gpu")
        office.ask_jobs(lambda jobs: jobs.cancel(job.id))
        until(lambda: len(office.receiver.received) == 1, 60)
        until(lambda: office.messages() == [])
        until(lambda: office.ask_jobs(lambda jobs: jobs.worker_loops()).get("webhooks") == "running")
    finally:
        process.terminate()
        process.wait(120)
    text = log.read_text()
    assert "is delivered, attempt 1" in text
    assert SECRET.removeprefix("whsec_") not in text
    assert "abcdef" not in text
