"""The process that reads foreign files: what it makes, and how it ends when it exceeds a limit or must stop."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from models.data.building.options import ImportOptions
from models.data.building.order import TrainingDataOrder
from tests.support.image_archives import CLASSES, bomb, zip_of_pictures
from worker.importing.files import ABOUT, ResultInvalid, read_result
from worker.importing.process import COMMAND, ImportFailed, ImportRefused, build_in_process
from worker.importing.program import Request
from worker.importing.resource_limits import ResourceLimits, memory_of_session, processes_of_session

MANY = 6000  # pictures: they are decoded by other processes


class Stop(Exception):
    """What `check` raises to end an import."""


def request(folder: Path, archive: bytes, **limits: float) -> Request:
    source = folder / "letters.zip"
    source.write_bytes(archive)
    return Request(
        source=source,
        identity=str(hash(archive)),
        options=ImportOptions(),
        work=folder / "work" / "parts",
        result=folder / "work" / "result",
        limits=ResourceLimits(**limits),  # type: ignore[arg-type]
    )


def ignore(*_: object) -> None:
    """A report, or a check, that does nothing."""


def session_of_child() -> int:
    """The process that this test has started, whose session has its own children too."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    found = [int(child) for child in children if b"worker.importing.program" in cmdline(int(child))]
    assert len(found) == 1
    return found[0]


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_it_makes_training_data_of_an_archive(tmp_path: Path) -> None:
    reports = []
    built, preview = build_in_process(request(tmp_path, zip_of_pictures()), lambda *each: reports.append(each), ignore)
    assert built.classes == CLASSES
    train, test = built.counts(built.arrays.train_labels), built.counts(built.arrays.test_labels)
    assert [sum(each) for each in zip(train, test, strict=True)] == [20, 20, 20]
    assert min(test) > 0
    assert preview.startswith(b"\x89PNG")
    assert reports[-1] == (60, 60)
    assert built.checksum.startswith("sha256:")


def test_it_knows_no_secrets_and_cannot_open_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are those of the kernel, for each process of the session."""
    monkeypatch.setenv("ACGAN_REDIS_URL", "redis://:hunter2@example/0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    seen = list[tuple[bytes, str]]()

    def look() -> None:
        with suppress(AssertionError, OSError):  # it has ended meanwhile
            for pid in processes_of_session(session_of_child()):
                seen.append((Path(f"/proc/{pid}/environ").read_bytes(), Path(f"/proc/{pid}/limits").read_text()))

    build_in_process(request(tmp_path, zip_of_pictures(count=MANY)), lambda *_: look(), ignore)
    assert seen
    assert not any(b"hunter2" in environment for environment, _ in seen)
    rows = {line[:26].strip(): line[26:].split()[:2] for line in seen[-1][1].splitlines()}
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max open files"] == ["512", "512"]
    assert rows["Max address space"] == [str(ResourceLimits().address_space)] * 2


def test_a_file_that_is_no_archive_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"letters\.zip"):
        build_in_process(request(tmp_path, b"no archive"), ignore, ignore)


def test_a_bomb_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as refused:
        build_in_process(request(tmp_path, bomb()), ignore, ignore)
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "work").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"memory": 1 << 20}, "letters.zip was not imported: it needs more than 1 MB of memory"),
        ({"seconds": 0.5}, "letters.zip was not imported: it takes longer than 0.5 seconds"),
        ({"processor_seconds": 1}, "1 seconds of processor time|the process that decodes the pictures ended"),
    ],
)
def test_a_process_that_exceeds_a_limit_ends_with_all_that_it_started(
    tmp_path: Path, limits: dict[str, float], sentence: str
) -> None:
    sessions = set[int]()

    def look(*_: object) -> None:
        with suppress(AssertionError, OSError):  # it has ended meanwhile
            sessions.add(session_of_child())

    with pytest.raises((ImportFailed, ImportRefused), match=sentence):
        build_in_process(request(tmp_path, zip_of_pictures(count=5 * MANY), **limits), look, ignore)
    until(lambda: not any(processes_of_session(session) for session in sessions))  # init has to collect them


def test_a_process_that_is_killed_is_named_in_the_error(tmp_path: Path) -> None:
    killed = list[int]()

    def kill_once(*_: object) -> None:
        if not killed:  # it may have sent more reports before it died
            killed.append(session_of_child())
            os.kill(killed[0], signal.SIGSEGV)

    with pytest.raises(ImportFailed, match="the process that reads it was ended by SIGSEGV"):
        build_in_process(request(tmp_path, zip_of_pictures(count=5 * MANY)), kill_once, ignore)


def test_a_stopped_import_continues_with_the_finished_pictures(tmp_path: Path) -> None:
    wanted, reached = request(tmp_path, zip_of_pictures(count=MANY)), 0

    def stop(done: int, _total: int | None) -> None:
        nonlocal reached
        reached = done
        if done:
            raise Stop

    with pytest.raises(Stop):
        build_in_process(wanted, stop, ignore)
    reports = list[int]()
    built, _ = build_in_process(wanted, lambda done, _: reports.append(done), ignore)
    assert reports[0] >= reached > 0
    assert reports[-1] == MANY
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    again, _ = build_in_process(request(undisturbed, zip_of_pictures(count=MANY)), ignore, ignore)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(built.arrays, again.arrays, strict=True))
    assert built.checksum == again.checksum


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Also if that one is killed, and cannot end it."""
    wanted = request(tmp_path, zip_of_pictures(count=10 * MANY))
    wanted.work.mkdir(parents=True)
    starter = (
        "import subprocess, sys, time\n"
        "process = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,"
        " start_new_session=True)\n"
        "process.stdin.write(sys.argv[1].encode() + b'\\n'); process.stdin.flush()\n"
        "print(process.pid, flush=True); time.sleep(100)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter, wanted.model_dump_json(), *COMMAND], stdout=subprocess.PIPE
    ) as started:
        assert started.stdout is not None
        session = int(started.stdout.readline())
        until(lambda: len(processes_of_session(session)) > 1 and memory_of_session(session) > 0)
        started.kill()
    until(lambda: not processes_of_session(session))


def until(true: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_result_that_contradicts_itself_is_not_trusted(tmp_path: Path) -> None:
    wanted = request(tmp_path, zip_of_pictures())
    build_in_process(wanted, ignore, ignore)
    about = json.loads((wanted.result / ABOUT).read_text())
    (wanted.result / ABOUT).write_text(json.dumps({**about, "classes": ["a", "b"]}))
    with pytest.raises(ResultInvalid, match="do not fit together"):
        read_result(wanted.result)
    (wanted.result / ABOUT).unlink()
    with pytest.raises(ResultInvalid, match="cannot be read"):
        read_result(wanted.result)


def test_the_name_of_a_file_cannot_leave_its_folder() -> None:
    for name in ("../x", "a/b", ".hidden", "", "x" * 101, "a\nb"):
        with pytest.raises(ValueError, match="file"):
            TrainingDataOrder(name="letters", file=name, size=1, sha256="0" * 64)
