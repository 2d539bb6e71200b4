"""What this machine does fast: its device, its precision, the layout of its convolutions, and iterations as graphs."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from models.config import Precision
from models.devices import DeviceUnavailable, check_name

SettledPrecision = Literal["fp32", "bf16"]


def find_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device that exists. Raises DeviceUnavailable."""
    check_name(name)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise DeviceUnavailable(f"ACGAN_DEVICE={name}, but this machine has {gpus} CUDA devices: use auto or cpu")
    return device


def describe(device: torch.device) -> str:
    """Name a device for people."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def be_exact(device: torch.device) -> None:
    """Have a GPU compute float32 as float32, and the same whenever it computes the same."""
    if device.type == "cuda":
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


def settle_precision(precision: Precision, device: torch.device) -> SettledPrecision:
    """Settle `auto`: bf16 where the processor multiplies it natively, else float32.

    Raises DeviceUnavailable where bf16 was asked for and it does not: what takes minutes would take days.
    """
    native = multiplies_bf16(device)
    if precision == "bf16" and not native:
        raise DeviceUnavailable(f"precision bf16: {device} does not compute bfloat16 itself: use auto or fp32")
    if precision != "auto":
        return precision
    return "bf16" if native else "fp32"


def multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    checks = (getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile"))
    return any(check() for check in checks if check is not None)


def autocast(precision: SettledPrecision, device: torch.device) -> torch.autocast:
    """Compute convolutions and products in bf16 inside this context; weights and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def lay_out(network: nn.Module) -> None:
    """Keep the convolutions' weights channels last, which both oneDNN and cuDNN compute faster.

    Cloned, because only so a weight of one channel tells its layout, and what it computes follows.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.clone(memory_format=torch.channels_last)


# ----------------------------------------------------------------------------
# A GPU computes an iteration's kernels faster than Python launches them. Captured once as a CUDA graph, they are
# launched all together.

WARM_UP = 3  # before a capture, so that libraries have chosen their kernels and allocated their workspaces


class Replay:
    """A function of a batch, over buffers that stay where they are; on a GPU one CUDA graph, replayed.

    The function may change the tensors that `changes` names, in place, and must not return anything or look at a
    tensor's values. Preparing it leaves those tensors and the random state as they were. Seeds set between calls govern
    what a replay draws.
    """

    def __init__(self, function: Callable[..., None], changes: Collection[Tensor], device: torch.device) -> None:
        self.function = function
        self.changes = changes
        self.device = device
        self.buffers: tuple[Tensor, ...] = ()
        self.launch: Callable[[], None] | None = None

    def __call__(self, *batch: Tensor) -> None:
        if self.launch is None:
            self.buffers = tuple(tensor.clone() for tensor in batch)
            with unchanged(self.changes, self.device):
                self.launch = self.prepare()
        for buffer, tensor in zip(self.buffers, batch, strict=True):
            buffer.copy_(tensor)
        self.launch()

    def prepare(self) -> Callable[[], None]:
        if self.device.type != "cuda":
            self.function(*self.buffers)
            return lambda: self.function(*self.buffers)
        stream, graph = torch.cuda.Stream(self.device), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.function(*self.buffers)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self.function(*self.buffers)
        return graph.replay


@contextlib.contextmanager
def unchanged(tensors: Collection[Tensor], device: torch.device) -> Iterator[None]:
    """Give the tensors back their values, in place, and the random generators their states."""
    values = [tensor.detach().clone() for tensor in tensors]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
