"""The simulation of many workers runs to its end over the real scripts, and leaves no process."""

import os
import re
from pathlib import Path

import pytest

from benchmarks.archive import scale
from benchmarks.processes import tree
from benchmarks.records import EPOCHS, fill
from benchmarks.redis_server import RedisServer, connect
from tests.conftest import RunningRedis
from tests.support.job_lists import newest
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import Job, JobStatus

TINY = ["--records", "6", "--waiting", "30", "--workers", "3", "--seconds", "0.3", "--answers", "2"]


@pytest.mark.long
def test_every_table_is_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {process.pid for process in tree(os.getpid())}
    scale.main([*TINY, "--folder", str(tmp_path)])

    output = capsys.readouterr().out
    tables = [table.splitlines() for table in output.split("\n\n")[1:]]
    assert [len(table) - 2 for table in tables] == [1, 3, 1, 1, 1, 3, 7]
    assert not re.search(r"\bnan\b|\|  \|", output)
    left = [
        Path(f"/proc/{process.pid}/cmdline").read_text() for process in tree(os.getpid()) if process.pid not in before
    ]
    assert not [command for command in left if "valkey" in command or "app.cli" in command or "spawn_main" in command]


def test_records_are_like_those_of_the_service(redis_url: str, shared_redis: RunningRedis) -> None:
    fill(redis_url, 6)

    jobs = shared_redis.ask(lambda jobs: newest(jobs, 10))
    assert [len(job.epochs) for job in jobs] == [EPOCHS] * 6
    assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}


def test_copies_are_listed_under_their_originals(
    redis_url: str, shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.records.ORIGINALS", 2)

    assert fill(redis_url, 6) == 2

    jobs = shared_redis.ask(lambda jobs: newest(jobs, 10, JobStatus.SUCCEEDED))
    assert len({job.id for job in jobs}) == 6
    assert len({job.config.seed for job in jobs if isinstance(job, Job)}) == 2
    assert [len(job.epochs) for job in jobs] == [EPOCHS] * 6
    consumer = JobConsumer.connect(redis_url)
    assert not consumer.rebuild_indexes()
    consumer.close()


def test_a_redis_that_is_killed_keeps_its_acknowledged_writes(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        with connect(server.url) as client:
            client.set("acknowledged", "kept")
        server.restart()
        with connect(server.url) as client:
            assert client.get("acknowledged") == "kept"
