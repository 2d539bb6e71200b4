"""The CPU quota of a container: read from control groups of both versions, and used for every number of threads."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from models import devices
from models.cpu_quota import cpu_quota
from models.devices import processors

V1 = "31 23 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "31 23 0:29 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
V1_FOLDER, V2_FOLDER = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup"


def v1(quota: int, period: int = 100_000, group: str = "") -> Mapping[str, str]:
    folder = f"{V1_FOLDER}{group}"
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


def v2(text: str, group: str = "") -> Mapping[str, str]:
    return {f"{V2_FOLDER}{group}/cpu.max": f"{text}\n"}


@pytest.mark.parametrize(
    ("mounts", "group", "files", "expected"),
    [
        pytest.param(V2.format(root="/"), "0::/\n", v2("150000 100000"), 1.5, id="v2, a namespace of its own"),
        pytest.param(V2.format(root="/"), "0::/\n", v2("max 100000"), None, id="v2 without a limit"),
        pytest.param(V2.format(root="/"), "0::/\n", {}, None, id="v2, the topmost group has no file"),
        pytest.param(V2.format(root="/"), "0::/a/b\n", v2("50000 100000", "/a/b"), 0.5, id="v2, below the mount"),
        pytest.param(
            V2.format(root="/"),
            "0::/a/b\n",
            {**v2("max 100000", "/a/b"), **v2("300000 100000", "/a")},
            3.0,
            id="v2, a group above limits it, as a slice of systemd or a pod",
        ),
        pytest.param(V2.format(root="/x"), "0::/x/y\n", v2("200000 50000", "/y"), 4.0, id="v2, a part is mounted"),
        pytest.param(V2.format(root="/"), "0::/../../up\n", v2("200000 100000"), 2.0, id="v2, a group outside"),
        pytest.param(V1.format(root="/"), "4:cpu,cpuacct:/\n", v1(250_000), 2.5, id="v1"),
        pytest.param(V1.format(root="/"), "4:cpu,cpuacct:/\n", v1(-1), None, id="v1 without a limit"),
        pytest.param(
            V1.format(root="/docker/f00"), "4:cpu,cpuacct:/docker/f00\n", v1(100_000), 1.0, id="v1, as Docker mounts it"
        ),
        pytest.param(
            V1.format(root="/") + V2.format(root="/"),
            "4:cpu,cpuacct:/a\n0::/\n",
            {**v1(300_000, group="/a"), **v1(200_000)},
            2.0,
            id="both, v1 has the controller",
        ),
        pytest.param(V1.format(root="/"), "4:memory:/\n", v1(100_000), None, id="no controller of processors"),
        pytest.param(V2.format(root="/"), "0::/\n", v2("a b c"), None, id="not understood"),
        pytest.param("31 23\n - \n1 - cgroup\n", "x\n", {}, None, id="files of another form"),
    ],
)
def test_the_quota_is_read_from_the_group_of_the_process(
    tmp_path: Path, mounts: str, group: str, files: Mapping[str, str], expected: float | None
) -> None:
    for name, text in {"proc/self/mountinfo": mounts, "proc/self/cgroup": group, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(0.1, 1), (1.0, 1), (1.2, 2), (3.5, 4), (64.0, 8), (None, 8)])
def test_the_number_of_processors_is_the_smaller_one(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(devices, "cpu_quota", lambda: quota)
    assert processors() == expected


@pytest.fixture
def one_processor() -> Iterator[Path]:
    """A real control group with a quota of 0.7 processors: the file of its processes."""
    for parent, files in (
        ("/sys/fs/cgroup/cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "70000"}),
        ("/sys/fs/cgroup", {"cpu.max": "70000 100000"}),
    ):
        group = Path(parent) / f"acgan-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in files.items():
                (group / name).write_text(text)
            yield group / "cgroup.procs"
            return
        except OSError:
            continue
        finally:
            group.rmdir()
    pytest.skip("control groups cannot be created here")


THREADS = """
import os, sys
open(sys.argv[1], "w").write(str(os.getpid()))
os.sched_getaffinity = lambda _: set(range(4))
import torch
torch.set_num_threads(4)
from models.networks import precision
from models.training import environment
from models.devices import processors
print(processors(), torch.get_num_threads(), environment.START_THREADS)
"""


@pytest.mark.parametrize(("variables", "expected"), [({}, [1, 1, 1]), ({"OMP_NUM_THREADS": "4"}, [1, 4, 4])])
def test_a_process_in_a_real_group_uses_as_many_threads_as_its_quota(
    one_processor: Path, variables: dict[str, str], expected: list[int]
) -> None:
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", THREADS, str(one_processor)]
    found = subprocess.run(command, env={**own, **variables}, capture_output=True, text=True, check=True, timeout=120)
    assert [int(word) for word in found.stdout.split()] == expected
