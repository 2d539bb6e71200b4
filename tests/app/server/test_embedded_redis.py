"""An embedded Redis whose data is damaged names the file and a command, and the command repairs it."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.server.embedded_redis import APPENDED, LIST, explain
from tests.conftest import RunningRedis

TOLD = 100


@pytest.fixture
def stopped(tmp_path: Path) -> RunningRedis:
    """A server that received a hundred writes and was killed."""
    running = RunningRedis(tmp_path / "redis data")
    with running.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(TOLD):
            pipeline.hset(f"job:{number}", "status", "queued")
        pipeline.execute()
    running.kill()
    return running


def appended(running: RunningRedis) -> Path:
    return next((Path(running.server.command[1]).parent / APPENDED).glob("*.incr.aof"))


def base(running: RunningRedis) -> Path:
    return next(appended(running).parent.glob("*.base.rdb"))


def damage(path: Path, what: bytes, instead: bytes) -> None:
    """Change bytes in the middle of a file."""
    data = path.read_bytes()
    at = data.index(what, len(data) // 2)
    path.write_bytes(data[:at] + instead + data[at + len(what) :])


def refused(running: RunningRedis) -> str:
    result = subprocess.run(running.server.command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode != 0
    return str(explain(result.stdout, Path(running.server.command[1]).parent))


@pytest.mark.parametrize(("what", "instead"), [(b"*4\r\n", b"Z4\r\n"), (b"$6\r\n", b"$7\r\n")])
def test_damage_in_the_middle_is_reported_with_a_command_that_repairs_it(
    stopped: RunningRedis, what: bytes, instead: bytes
) -> None:
    damage(appended(stopped), what, instead)
    sentence = refused(stopped)
    assert f"because {appended(stopped)} is damaged" in sentence
    command = re.findall("`(.+)`", sentence)
    assert len(command) == 1
    subprocess.run(command[0], shell=True, input="y\n", text=True, capture_output=True, check=True)  # noqa: S602
    stopped.start()
    with stopped.client() as client:
        assert TOLD // 3 < client.dbsize() < TOLD
    stopped.kill()


@pytest.mark.parametrize(
    ("found", "harm"),
    [
        (appended, lambda path: damage(path, b"HSET", b"QSET")),
        (appended, Path.unlink),
        (base, lambda path: path.write_bytes(path.read_bytes()[:-4] + b"what")),
        (lambda running: appended(running).with_name(LIST), lambda path: path.write_text("nothing\n")),
    ],
    ids=["a command that there is not", "a file that is gone", "the base", "the list of files"],
)
def test_for_data_that_cannot_be_repaired_the_message_says_what_to_move_away(
    stopped: RunningRedis, found: Callable[[RunningRedis], Path], harm: Callable[[Path], object]
) -> None:
    path = found(stopped)
    harm(path)
    assert refused(stopped) == (
        f"Redis cannot start, because {path} is damaged: move {path.parent} away to start without jobs; "
        "checkpoints stay"
    )
    path.parent.rename(path.parent.with_name("kept"))
    stopped.start()
    stopped.kill()


def test_a_truncated_tail_does_not_prevent_a_start(stopped: RunningRedis) -> None:
    path = appended(stopped)
    path.write_bytes(path.read_bytes()[:-7])
    stopped.start()
    with stopped.client() as client:
        assert client.dbsize() == TOLD - 1
    stopped.kill()


def test_other_errors_get_no_explanation(stopped: RunningRedis) -> None:
    assert explain("# Failed listening on port 6379 (tcp), aborting.", Path()) is None
