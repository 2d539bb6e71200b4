"""A publication interrupted at each of its system calls: killed there, or with an error of a failing or full disk.

`latest` is good each time, success is reported only if the files exist, and the next publication succeeds and removes
leftovers.
"""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from models.registry.store import CheckpointId, CheckpointStore
from tests.faults.publish_once import BEGIN, END, FILES, JOB, manifest, publish_when_traced
from tests.support.forks import FORKS

MADE_AGAIN = ("openat", "write", "fsync", "flock", "fchmod")  # by Python, if a signal interrupts them (PEP 475)
CALLS = "openat,write,fsync,rename,mkdir,rmdir,unlink,unlinkat,flock,fchmod,newfstatat"

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


def publish(store: Path, trace: Path, inject: str | None = None) -> bool:
    """Publish epoch 2 under strace, which injects the given fault. Returns whether it was published.

    strace attaches when all modules are loaded, so that the numbers of its calls are the same each time.
    """
    start, started = FORKS.Pipe()
    process = FORKS.Process(target=publish_when_traced, args=(store, 2, started))
    process.start()
    started.close()
    assert start.recv() == "ready"
    command = ["strace", "-o", str(trace), "-e", f"trace={CALLS}", *(["-e", f"inject={inject}"] if inject else [])]
    with subprocess.Popen([*command, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        start.send("publish")
        process.join()
    start.close()
    return process.exitcode == 0


def prepared(store: Path) -> CheckpointStore:
    """A store with epoch 1."""
    made = CheckpointStore(store)
    made.take(JOB, 1)
    made.publish(manifest(1, fence=1), FILES)
    return made


def steps(trace: str) -> list[tuple[str, int]]:
    """List the system calls between the marks: each name, and its running number among the calls of that name."""
    counts: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    inside = False
    for line in trace.splitlines():
        if (match := re.match(r"(\w+)\(", line)) is None:
            continue
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
        if END in line:
            return found
        if inside and name != "newfstatat":
            found.append((name, counts[name]))
        inside = inside or BEGIN in line
    raise AssertionError("the publication does not end in the trace")


def verify(store: CheckpointStore, is_published: bool) -> None:
    latest = store.latest()
    assert latest in (CheckpointId(JOB, 1), CheckpointId(JOB, 2))
    found = store.manifest(latest)
    assert {name: store.read(found, name) for name in found.files} == FILES
    if is_published:
        assert latest == CheckpointId(JOB, 2)


def recover(store: CheckpointStore) -> None:
    """Do what the worker that takes the job over does."""
    store.take(JOB, 2)
    store.publish(manifest(2, fence=2), FILES)
    assert store.latest() == CheckpointId(JOB, 2)
    found = store.manifest(CheckpointId(JOB, 2))
    assert {name: store.read(found, name) for name in found.files} == FILES
    assert [path.name for path in (store.root / JOB).iterdir() if path.name.startswith(".")] == []


@pytest.fixture(scope="module")
def all_steps(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("dry")
    prepared(folder / "store")
    assert publish(folder / "store", folder / "trace")
    found = steps((folder / "trace").read_text())
    assert len(found) > 30
    assert {"fsync", "rename", "write", "openat"} <= {name for name, _ in found}
    return found


@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
@pytest.mark.timeout(900)
def test_latest_is_good_after_an_interruption_at_any_system_call(
    fault: str, all_steps: list[tuple[str, int]], tmp_path: Path
) -> None:
    refused = sum(interrupt(tmp_path, name, number, fault, str(number)) for name, number in all_steps)
    assert refused > len(all_steps) / 2


@pytest.mark.parametrize(
    ("fault", "until"), [(f"error={name}", "+") for name in ("EIO", "ENOSPC", "EACCES")] + [("error=EACCES", "")]
)
def test_a_repeated_failure_is_raised_and_latest_is_good(
    fault: str, until: str, all_steps: list[tuple[str, int]], tmp_path: Path, seed: int
) -> None:
    """One of each kind of system call, and every later one of that kind."""
    chosen = one_of_each(all_steps, seed)
    refused = sum(interrupt(tmp_path, name, number, fault, f"{number}{until}") for name, number in chosen)
    assert refused > len(chosen) / 2


@pytest.mark.parametrize("times", [1, 3])
def test_a_system_call_interrupted_by_a_signal_is_repeated_or_the_error_raised(
    times: int, all_steps: list[tuple[str, int]], tmp_path: Path, seed: int
) -> None:
    """Python repeats some of them itself without a limit; those publish."""
    for name, number in one_of_each(all_steps, seed):
        refused = interrupt(tmp_path, name, number, "error=EINTR", f"{number}..{number + times - 1}")
        assert not refused or name not in MADE_AGAIN, f"{name} {number}"


def interrupt(folder: Path, name: str, number: int, fault: str, when: str) -> bool:
    """Inject the fault at one step of a publication. Returns whether the publication raised an error."""
    store = prepared(folder / f"{name}-{number}")
    is_published = publish(store.root, folder / "trace", f"{name}:{fault}:when={when}")
    trace = (folder / "trace").read_text()
    assert "(INJECTED)" in trace or "killed by SIGKILL" in trace, f"no fault was injected at {name} {number}"
    assert BEGIN in trace, f"{name} {number} was before the publication"
    if "EINTR" not in fault:
        assert synced_again(trace) == [], f"{name} {number}"
    verify(store, is_published)
    recover(store)
    shutil.rmtree(store.root)
    return not is_published


def one_of_each(all_steps: list[tuple[str, int]], seed: int) -> list[tuple[str, int]]:
    """Choose a step of each kind of system call."""
    mixed = random.Random(seed).sample(all_steps, len(all_steps))
    return list(dict(mixed).items())


def synced_again(trace: str) -> list[str]:
    """List the fsyncs of a file whose fsync failed before: the kernel may have dropped what it could not write."""
    failed: set[str] = set()
    found = []
    for line in trace.splitlines():
        if opened := re.match(r"openat\(.* = (\d+)$", line):
            failed.discard(opened[1])
        elif synced := re.match(r"fsync\((\d+)\)\s+= (-?\d+)", line):
            if synced[1] in failed:
                found.append(line)
            if synced[2] != "0":
                failed.add(synced[1])
    return found


def test_a_second_fsync_after_a_failed_one_is_detected() -> None:
    failed, good = "fsync(3) = -1 EIO (Input/output error) (INJECTED)\n", "fsync(3)   = 0\n"
    assert synced_again(failed + good) == [good.strip()]
    assert synced_again(failed + 'openat(AT_FDCWD, "x", O_RDONLY) = 3\n' + good) == []
    assert synced_again(good + good) == []
