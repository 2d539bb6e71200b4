"""Precision of the arithmetic, and the memory layout of the convolutions' weights."""

from typing import Literal

import torch
from torch import nn

from models.config import Precision
from models.devices import DeviceUnavailable

SettledPrecision = Literal["fp32", "bf16"]


def settle_precision(precision: Precision, device: torch.device) -> SettledPrecision:
    """Resolve `auto`: bf16 if the processor multiplies it natively, else float32.

    Raises DeviceUnavailable if bf16 was requested and the processor would emulate it: minutes would become days.
    """
    native = multiplies_bf16(device)
    if precision == "bf16" and not native:
        raise DeviceUnavailable(f"precision bf16: {device} does not compute bfloat16 natively: use auto or fp32")
    if precision != "auto":
        return precision
    return "bf16" if native else "fp32"


def multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):  # the query is about the current device
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    checks = (getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile"))
    return any(check() for check in checks if check is not None)


def autocast(precision: SettledPrecision, device: torch.device) -> torch.autocast:
    """Return a context that computes convolutions and products in bf16; weights and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def to_channels_last(network: nn.Module) -> None:
    """Store the convolutions' weights channels last, which both oneDNN and cuDNN compute faster.

    They are cloned, because only a clone records the layout of a weight with one channel, and the layout of the
    results follows from that of the weights.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.clone(memory_format=torch.channels_last)
