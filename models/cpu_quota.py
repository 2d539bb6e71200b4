"""Reads the CPU quota of the container or service that this process runs in, from Linux control groups (v1 and v2)."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Hierarchy(NamedTuple):
    """A mounted tree of control groups."""

    root: PurePosixPath  # the group that is mounted there
    mount: PurePosixPath
    is_v2: bool


def cpu_quota(filesystem: Path = Path("/")) -> float | None:
    """Return the smallest quota of this process's group and of the groups above it, in processors; None for no quota.

    `filesystem` is the folder that has proc/ and the mount points.
    """
    quotas = [
        quota
        for hierarchy, group in _groups(filesystem)
        for folder in _levels(hierarchy, group)
        if (quota := _quota(filesystem / folder.relative_to("/"), hierarchy.is_v2)) is not None
    ]
    return min(quotas, default=None)


def _groups(filesystem: Path) -> Iterator[tuple[Hierarchy, PurePosixPath]]:
    """Yield each hierarchy that may limit processors, with this process's group in it."""
    groups = dict[bool, PurePosixPath]()
    for line in _lines(filesystem / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            groups[True] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            groups[False] = PurePosixPath(path)
    for line in _lines(filesystem / "proc/self/mountinfo"):
        about, _, kind = line.partition(" - ")
        fields, (name, *options) = about.split(), kind.split() or [""]
        is_v2 = name == "cgroup2"
        is_cpu = is_v2 or (name == "cgroup" and "cpu" in ",".join(options).split(","))
        if is_cpu and len(fields) > 4 and is_v2 in groups:
            yield Hierarchy(PurePosixPath(fields[3]), PurePosixPath(_unescaped(fields[4])), is_v2), groups[is_v2]


def _levels(hierarchy: Hierarchy, group: PurePosixPath) -> list[PurePosixPath]:
    """The folder of a group and of each one above it, up to the mount point.

    In a container, often only its group is mounted, or the path of the group is valid only on the host: then the group
    is at the mount point.
    """
    below = group.relative_to(hierarchy.root) if group.is_relative_to(hierarchy.root) else PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    return [hierarchy.mount / part for part in [below, *below.parents]]


def _quota(folder: Path, is_v2: bool) -> float | None:
    if is_v2:
        words = " ".join(_lines(folder / "cpu.max")).split()
    else:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # `max`, or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _unescaped(path: str) -> str:
    return path.replace("\\040", " ")
