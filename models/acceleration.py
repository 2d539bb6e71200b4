"""What this machine does fast: its device, its precision, the memory layout of its convolutions."""

import re
from typing import Literal

import torch
from torch import nn

from models.config import Precision

SettledPrecision = Literal["fp32", "bf16"]


class DeviceUnavailable(Exception):
    """The device that was asked for is not there. The message says which are."""


def find_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device that exists. Raises DeviceUnavailable."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise DeviceUnavailable(f"ACGAN_DEVICE={name} is none of auto, cpu, cuda, cuda:0, cuda:1, ...")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise DeviceUnavailable(f"ACGAN_DEVICE={name}, but this machine has {gpus} CUDA devices: use auto or cpu")
    return device


def describe(device: torch.device) -> str:
    """Name a device for people."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def settle_precision(precision: Precision, device: torch.device) -> SettledPrecision:
    """Settle `auto`: bf16 where the processor multiplies it natively, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _cpu_multiplies_bf16() else "fp32"


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
