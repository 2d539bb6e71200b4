"""Finds the devices of this machine without importing torch, so a worker's start does not wait for that import."""

import ctypes
import logging
import math
import os
import re
import subprocess
import sys

from models.cpu_quota import cpu_quota
from models.errors import Unavailable

logger = logging.getLogger(__name__)

NAME = re.compile(r"auto|cpu|cuda(:(0|[1-9]\d?))?")  # torch's index is a signed byte


class DeviceUnavailable(Unavailable, code="device-unavailable"):
    """The requested device does not exist or lacks a feature. The message names the alternatives."""


class DeviceOutOfMemory(Unavailable, code="device-out-of-memory"):
    """A job needs more memory than its device has free. The message gives the free memory and a remedy."""


def check_name(name: str) -> None:
    """Raise DeviceUnavailable if `name` is not a valid device name."""
    if not NAME.fullmatch(name):
        raise DeviceUnavailable(f"ACGAN_DEVICE={name} is not one of auto, cpu, cuda, cuda:0, cuda:1, ...")


def processors() -> int:
    """Return the number of processors that this process may use: the smaller of its affinity and its CPU quota.

    A quota, as a container has, is rounded up. The result is at least 1.
    """
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return number if quota is None else max(1, min(number, math.ceil(quota)))


def count_gpus() -> int:
    """Return the number of GPUs that this process may use (CUDA_VISIBLE_DEVICES); 0 without NVIDIA's driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    number = ctypes.c_int()
    fine = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(number)) == 0
    return number.value if fine else 0


def settle_device(name: str) -> str:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device that exists. Raises DeviceUnavailable.

    If there may be a GPU, a separate process asks torch, because a CPU-only build of torch cannot use one. If `auto`
    becomes `cpu` although the driver reports a GPU, the reason is logged.
    """
    check_name(name)
    gpus = count_gpus() if name == "auto" else 0
    if name == "cpu" or (name == "auto" and gpus == 0):
        return "cpu"
    asked = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", "from models.torch_device import main; main()", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise DeviceUnavailable(asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else f"no {name}")
    device, _, reason = asked.stdout.strip().partition("\n")
    if name == "auto" and device == "cpu":
        reports = "1 GPU, but PyTorch cannot use it" if gpus == 1 else f"{gpus} GPUs, but PyTorch cannot use them"
        logger.warning("the driver reports %s: %s; the CPU computes instead", reports, reason or "no reason is known")
    return device
