"""Which devices there are, told without torch: whoever starts a worker need not wait for it to load."""

import ctypes
import os
import re
import subprocess
import sys

NAME = re.compile(r"auto|cpu|cuda(:\d+)?")


class DeviceUnavailable(Exception):
    """The device that was asked for is not there, or cannot do what it is to do. The message says what can be had."""


class DeviceOutOfMemory(Exception):
    """A job needs more memory than its device has left. The message says how much that was and what to do."""


def check_name(name: str) -> None:
    """Raises DeviceUnavailable where no device could have this name."""
    if not NAME.fullmatch(name):
        raise DeviceUnavailable(f"ACGAN_DEVICE={name} is none of auto, cpu, cuda, cuda:0, cuda:1, ...")


def processors() -> int:
    """Count those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_gpus() -> int:
    """Ask NVIDIA's driver, where there is one, how many GPUs this process may use (CUDA_VISIBLE_DEVICES)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    number = ctypes.c_int()
    fine = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(number)) == 0
    return number.value if fine else 0


def settle_device(name: str) -> str:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device that exists. Raises DeviceUnavailable.

    Where there may be a GPU, torch is asked, in a process of its own: one built for processors only has none.
    """
    check_name(name)
    if name == "cpu" or (name == "auto" and count_gpus() == 0):
        return "cpu"
    asked = subprocess.run(  # noqa: S603
        [sys.executable, "-c", "from models.devices import main; main()", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise DeviceUnavailable(asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else f"no {name}")
    return asked.stdout.strip()


def main() -> None:
    from models.acceleration import find_device

    try:
        sys.stdout.write(str(find_device(sys.argv[1])))
    except DeviceUnavailable as error:
        sys.exit(str(error))
