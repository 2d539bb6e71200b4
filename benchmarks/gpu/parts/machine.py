"""The machine: versions, and the upper bounds that other figures are compared with."""

import importlib
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata

import torch

from benchmarks.gpu.context import PartContext, data_dir, dataset_name
from models.torch_device import describe
from models.version import code_version

DISK_BYTES = 50 << 20  # about the state of a run


def run(context: PartContext) -> None:
    context.log.write("versions", **versions(context))
    context.measure("bf16 product", lambda: bf16_product(context))
    context.measure("copy", lambda: copy_bandwidth(context))
    context.measure("50 MiB written and fsynced", lambda: fsync_milliseconds(context))
    show_driver()


def versions(context: PartContext) -> dict[str, object]:
    entries: dict[str, object] = {
        "device": describe(context.device),
        "acgan": code_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton_version(),
        "c_compiler": next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None),  # Triton needs one
        "cores": len(os.sched_getaffinity(0)),
        "dataset": dataset_name(),
    }
    if data_dir() is None:
        entries["dataset_note"] = "ACGAN_DATA_DIR names no folder with MNIST: all parts used printed digits"
    if context.on_gpu:
        properties = torch.cuda.get_device_properties(context.device)
        entries |= {"cudnn": torch.backends.cudnn.version(), "gpu_gib": properties.total_memory >> 30}
        entries["capability"] = f"{properties.major}.{properties.minor}"
    return entries


def triton_version() -> str | None:
    """Return the version of Triton, which may have no metadata; None if it is missing or unknown."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("triton")
    with suppress(Exception):  # the import may fail, too: the other figures are measured nevertheless
        return str(importlib.import_module("triton").__version__)
    return None


def show_driver() -> None:
    """Print the output of nvidia-smi, for the log."""
    if tool := shutil.which("nvidia-smi"):
        sys.stdout.write(subprocess.run([tool], capture_output=True, text=True, check=False).stdout)  # noqa: S603


def bf16_product(context: PartContext) -> dict[str, float]:
    """Measure the product of two square bf16 matrices: the best and the median of 10 blocks, in TFLOP/s."""
    n = 8192 if context.on_gpu else 256
    a, b = (torch.randn(n, n, device=context.device, dtype=torch.bfloat16) for _ in range(2))
    times = sorted(context.time_blocks(lambda: a @ b, 10, 5))
    teraflop = 2 * n**3 / 1e12
    return {"n": n, "tflops": round(1e3 * teraflop / times[0], 1), "tflops_median": round(1e3 * teraflop / times[5], 1)}


def copy_bandwidth(context: PartContext) -> dict[str, float]:
    """Measure a copy within the device's memory, in GB/s; bytes read and bytes written are added."""
    source = torch.zeros(1 << (30 if context.on_gpu else 20), device=context.device)
    target = torch.empty_like(source)
    ms = min(context.time_blocks(lambda: target.copy_(source), 5, 3))
    return {"gib": source.nbytes / 2**30, "gb_per_s": round(2 * source.nbytes / ms / 1e6, 1)}


def fsync_milliseconds(context: PartContext) -> dict[str, float]:
    path = context.out / "disk.bin"
    began = time.perf_counter()
    with path.open("wb") as file:
        file.write(b"\1" * DISK_BYTES)
        file.flush()
        os.fsync(file.fileno())
    ms = 1e3 * (time.perf_counter() - began)
    path.unlink()
    return {"ms": round(ms)}
