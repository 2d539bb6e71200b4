"""What the process that reads a foreign file may use.

Each process has hard limits of the kernel: address space, processor time, size of a file, open files, no core dump.
The address space is only a last barrier, four times as large as the memory: libraries with threads reserve much more of
it than they use. The worker therefore measures the memory that the process and its children really use, and ends them
all if it exceeds the limit.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

GIB = 1 << 30
PROC = Path("/proc")
ENDED = "ZX"  # states of processes
OWN_MEMORY = ("RssAnon:", "RssShmem:")  # pages of files do not count: the kernel drops them when it needs the memory


class ResourceLimits(NamedTuple):
    memory: int = 3 * GIB // 2  # bytes of all processes together; 100,000 pictures need less than 1 GiB
    address_space: int = 6 * GIB  # bytes of each process
    seconds: float = 3600.0  # from start to end; 100,000 pictures take three minutes on two cores
    processor_seconds: int = 3600  # of each process
    file_size: int = 5 * GIB  # bytes: an unpacked archive, see UNPACKED in program.py
    open_files: int = 512

    def apply(self) -> None:
        """Set the limits of this process, and of those that it starts. Lower limits that exist stay."""
        if resource is None:
            return
        lower(resource.RLIMIT_CORE, 0)
        lower(resource.RLIMIT_AS, self.address_space)
        lower(resource.RLIMIT_CPU, self.processor_seconds, self.processor_seconds + 5)  # SIGXCPU, then SIGKILL
        lower(resource.RLIMIT_FSIZE, self.file_size)
        lower(resource.RLIMIT_NOFILE, self.open_files)


def lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit of this process, unless a lower one exists. `hard` is `soft` if it is not given."""
    _, highest = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    with suppress(ValueError, OSError):  # macOS does not limit the address space
        resource.setrlimit(kind, (soft, hard))


def memory_of_session(leader: int) -> int:
    """Return the bytes of memory that the processes of a session use, without pages of files; 0 if it is unknown."""
    return sum(memory_of(process) for process in processes_of_session(leader))


def processes_of_session(leader: int) -> list[int]:
    """Return the processes of a session that run. Zombies do not count."""
    found = []
    with suppress(OSError):
        for name in os.listdir(PROC):
            if name.isdigit():
                with suppress(OSError, IndexError):
                    fields = (PROC / name / "stat").read_text().rpartition(")")[2].split()
                    if fields[3] == str(leader) and fields[0] not in ENDED:
                        found.append(int(name))
    return found


def memory_of(process: int) -> int:
    total = 0
    with suppress(OSError, IndexError, ValueError):
        for line in (PROC / str(process) / "status").read_text().splitlines():
            if line.startswith(OWN_MEMORY):
                total += int(line.split()[1]) * 1024
    return total
