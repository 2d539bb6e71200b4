"""Redis' append-only file loses its last bytes, as if a disk had not kept an acknowledged write; and copies of it."""

import os
import random
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.server.embedded_redis import APPENDED, LIST, prepare
from models.config import TrainingConfig
from models.registry.store import CheckpointId
from tests.conftest import RunningRedis
from tests.faults.world import START_SECONDS, Outcome, World, check
from tests.support.failures import explained
from tests.support.job_lists import newest
from worker.jobs.client import Order
from worker.jobs.model import JobStatus

CUTS = 5


@pytest.mark.long
def test_a_tail_cut_off_anywhere_loses_no_job_and_repeats_no_token(
    world: World, undisturbed: Outcome, seed: int
) -> None:
    """At any position. Each time a job is accepted, and part of what was written afterwards is lost."""
    moments, jobs = random.Random(seed), []
    world.note("seed", seed)
    (appended,) = (world.folder / "redis" / APPENDED).glob("*.incr.aof")
    for _ in range(CUTS):
        jobs.append(world.accept(epochs=2))
        accepted = appended.stat().st_size
        world.until("one of them runs", lambda: any(world.trainer(job_id) for job_id in jobs), START_SECONDS)
        world.pause(moments.uniform(0, 1.5))
        latest, tokens = world.store.latest(), world.store.highest_fence()
        world.redis.kill()
        written = appended.stat().st_size
        kept = moments.randint(accepted, written)
        os.truncate(appended, kept)
        world.note("cut off", f"{written - kept} of the {written - accepted} bytes since")
        world.redis.start()
        assert {job.id for job in world.ask(lambda jobs: newest(jobs, 100))} == set(jobs)
        if latest is not None:
            assert latest <= (world.store.latest() or CheckpointId("", 0))
        assert world.store.highest_fence() >= tokens
    for job_id in jobs:
        assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, jobs, undisturbed)
    given = re.findall(r"starts, with token (\d+)", world.log.read_text())
    assert len(given) >= CUTS
    assert len(given) == len(set(given)), world.story()


# ----------------------------------------------------------------------------
# Copies.


BACKUPS = (Path(__file__).parents[2] / "deploy" / "README.md").read_text().partition("\n## Backups\n")[2]
MIB = 2**20


def accept(server: RunningRedis) -> str:
    order = Order(TrainingConfig(dataset="printed", epochs=1))
    return server.ask(lambda jobs: jobs.create(order)).id


def copy(server: RunningRedis, folder: Path) -> None:
    """Copy the append-only file, its list first. Meanwhile it grows until Redis rewrites it, unless this is off."""
    source, target = Path(server.server.command[1]).with_name(APPENDED), folder / APPENDED
    target.mkdir(parents=True)
    shutil.copy2(source / LIST, target)
    listed = (source / LIST).read_text()
    named = [source / name for name in re.findall(r"^file (\S+)", listed, re.MULTILINE)]
    with server.client() as client:
        for number in range(8):
            client.set(f"growth:{number}", "x" * MIB)
        ticks: list[int] = []  # of the clock that Redis advances when it checks whether to rewrite
        while len(set(ticks)) < 3 or client.info("persistence")["aof_rewrite_in_progress"]:
            ticks.append(client.info("server")["lru_clock"])
            time.sleep(0.02)
    while (source / LIST).read_text() != listed and all(path.exists() for path in named):
        time.sleep(0.02)  # after a rewrite, a thread of Redis deletes the former files
    for path in source.iterdir():
        if path.name != LIST:
            shutil.copy2(path, target)


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[RunningRedis]:
    """A server that rewrites its append-only file when its size has doubled, from 1 MiB on."""
    server = RunningRedis(tmp_path / "redis", options=("--auto-aof-rewrite-min-size", str(MIB)))
    with explained(server):
        yield server
    server.kill()


def test_a_copy_made_as_documented_starts_with_all_jobs(growing: RunningRedis, tmp_path: Path) -> None:
    """The steps of deploy/README.md, begun during a rewrite. While the files are copied, they grow."""
    steps = re.findall(r"^    ((?:redis-cli|cp) .*)$", BACKUPS, re.MULTILINE)
    with growing.client() as client:
        client.set("size", "x" * 8 * MIB)
        jobs = [accept(growing) for _ in range(5)]
        growing.start_rewrite()
        for program, *words in (shlex.split(step, comments=True) for step in steps):
            if program == "cp":
                rewrites = client.info("persistence")["aof_rewrites"]
                copy(growing, tmp_path / "copy")
                assert client.info("persistence")["aof_rewrites"] == rewrites
            elif words == ["info", "persistence"]:
                growing.wait_for_rewrite()
            else:
                client.execute_command(*words)
        assert client.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "100"}
    copied = RunningRedis(tmp_path / "copy")
    try:
        assert {job.id for job in copied.ask(lambda jobs: newest(jobs, 100))} == set(jobs)
    finally:
        copied.kill()


def test_a_plain_copy_does_not_start_if_redis_rewrites_its_file_meanwhile(
    growing: RunningRedis, tmp_path: Path
) -> None:
    accept(growing)
    copy(growing, tmp_path / "copy")
    done = subprocess.run(prepare(tmp_path / "copy").command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "No such file" in done.stdout + done.stderr
