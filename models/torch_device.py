"""The device that computes: choose it, describe it, make it deterministic, and measure its memory."""

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from models.devices import DeviceOutOfMemory, DeviceUnavailable, check_name, processors

GIB = 2**30
WITHOUT_CUDA = "PyTorch is installed without CUDA"
ALLOCATION_FAILED = (  # in messages of errors that torch raises as RuntimeError
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def limit_threads() -> None:
    """Limit torch's threads to the CPU quota, which torch does not read. OMP_NUM_THREADS takes precedence."""
    if "OMP_NUM_THREADS" not in os.environ and processors() < torch.get_num_threads():
        torch.set_num_threads(processors())


limit_threads()  # before models/training/environment.py reads the number


def find_device(name: str) -> torch.device:
    """Choose a device: `auto`, `cpu`, `cuda` or `cuda:1`. Sets a GPU to deterministic float32 arithmetic.

    All code gets its device here, so results do not depend on what ran earlier in the process.

    Raises DeviceUnavailable if the device does not exist.
    """
    check_name(name)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        found = f"this machine has {gpus} CUDA devices" if torch.version.cuda else WITHOUT_CUDA
        raise DeviceUnavailable(f"ACGAN_DEVICE={name}, but {found}: use auto or cpu")
    set_deterministic(device)
    return device


def describe(device: torch.device) -> str:
    """Return a readable name of a device."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def set_deterministic(device: torch.device) -> None:
    """Make a GPU compute float32 in IEEE precision (no TF32) and with the same kernels every time."""
    if device.type == "cuda":
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


# ----------------------------------------------------------------------------
# Memory.


@contextmanager
def explain_out_of_memory(device: torch.device, batch_size: int | None = None) -> Iterator[None]:
    """Raise DeviceOutOfMemory if the block runs out of memory on `device`. `batch_size` is that of a training."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceOutOfMemory(explanation(device, batch_size)) from None


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in ALLOCATION_FAILED)


def is_broken(error: BaseException | None) -> bool:
    """Return whether an error, or one that it was raised from or during, makes the device unusable for this process.

    Memory that does not suffice is no such error.
    """
    if error is None:
        return False
    if isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error):
        return True
    return is_broken(error.__cause__) or is_broken(error.__context__)


def explanation(device: torch.device, batch_size: int | None) -> str:
    """Return a sentence with the device, its free memory and a remedy."""
    task = f"a training with batches of {batch_size} images" if batch_size else "this job"
    remedy = "reduce the batch size, or " if batch_size else ""
    memory = free_and_total(device)
    left = f": {memory[0] / GIB:.1f} of {memory[1] / GIB:.1f} GiB were free when it failed" if memory else ""
    return f"{describe(device)} has too little memory for {task}{left}; {remedy}end other programs that use this memory"


def free_and_total(device: torch.device) -> tuple[int, int] | None:
    """Return the free and the total memory of a device in bytes, or None if the system does not report them."""
    with suppress(OSError, RuntimeError, KeyError, ValueError):
        if device.type == "cuda":
            return torch.cuda.mem_get_info(device)
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        kibibytes = {words[0]: int(words[1]) for words in lines}
        return kibibytes["MemAvailable:"] * 1024, kibibytes["MemTotal:"] * 1024
    return None


def reset_peak(device: torch.device) -> None:
    """Start the measurement that `describe_peak` reports."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def describe_peak(device: torch.device) -> str | None:
    """Return a phrase with this process's peak use of GPU memory since `reset_peak`; None on a CPU."""
    if device.type != "cuda":
        return None
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return f"{allocated / GIB:.2f} GiB allocated and {reserved / GIB:.2f} GiB reserved on {describe(device)}"


def release(device: torch.device) -> None:
    """Return the memory of unreferenced objects, cycles included, to the device."""
    gc.collect()
    free_cache(device)


def free_cache(device: torch.device) -> None:
    """Return memory that torch keeps for later tensors to the device, for other processes that use it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main() -> None:
    """Print the device that the first argument selects, for `devices.settle_device`.

    If it is the CPU, a second line has the reason why PyTorch uses no GPU, if it is known. An error has it too.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            device, error = str(find_device(sys.argv[1])), ""
        except DeviceUnavailable as unavailable:
            device, error = "", str(unavailable)
    reason = " ".join(reason_of(str(warning.message)) for warning in caught)
    if error:
        sys.exit(f"{error}. PyTorch reports: {reason}" if reason else error)
    if device == "cpu":
        device += f"\n{reason or ('' if torch.version.cuda else WITHOUT_CUDA)}"
    sys.stdout.write(device)


def reason_of(warning: str) -> str:
    """Return a warning of torch as one line, without its place in torch's source."""
    return " ".join(warning.partition("(Triggered internally")[0].split())
