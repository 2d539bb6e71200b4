"""Builds the simulated device, switches it on, and logs the operations that run on it."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.training.optimizers import EagerAdam

GUARD = Path(__file__).with_name("guard.cpp")
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
CUDA = torch.device("cuda", 0)


def build_guard(folder: Path) -> dict[str, str]:
    """Compile `guard.cpp` into `folder`. Returns the environment for a process that has the simulated device."""
    assert COMPILER is not None
    torch_folder = Path(torch.__file__).parent
    include, libraries = torch_folder / "include", torch_folder / "lib"
    built = folder / "simulated_cuda.so"
    headers = [f"-I{include}", f"-I{include / 'torch/csrc/api/include'}"]
    linked = [f"-L{libraries}", "-Wl,--no-as-needed", "-ltorch_cpu", "-ltorch", "-lc10"]
    command = [COMPILER, "-O0", "-shared", "-fPIC", "-std=c++20", str(GUARD), "-o", str(built), *headers, *linked]
    subprocess.run(command, check=True)
    return {**os.environ, "LD_PRELOAD": str(built), "LD_LIBRARY_PATH": str(libraries)}


# ----------------------------------------------------------------------------
# Switching it on. The replaced functions read values or query the driver: module.to, Adam's check of a rate, the
# initial weights, and the queries for bf16.


@contextmanager
def simulated_cuda(**options: Any) -> Iterator[None]:
    """Run the block with tensors that have no values. Options are those of FakeTensorMode."""
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(**options))
        for target, replacement in (
            ("torch.nn.Module.to", _move),
            ("models.training.optimizers.EagerAdam", _make_adam),
            ("models.training.iteration.initialize", lambda *_: None),
            ("models.networks.precision.multiplies_bf16", lambda _: True),
            ("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            ("torch.amp.autocast_mode.torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            ("torch.cuda.is_bf16_supported", lambda *_, **__: True),
            ("torch.cuda.get_device_name", lambda _: "simulated"),
            ("torch._C._conv_determine_backend_memory_format", _cudnn_layout),
            ("torch.Tensor.__deepcopy__", lambda tensor, _: tensor.detach().clone()),  # the original copies memory
        ):
            stack.enter_context(mock.patch(target, replacement))
        yield


def _cudnn_layout(images: Tensor, weight: Tensor, _: Any) -> torch.memory_format:
    """cuDNN's rule: channels last if the images or the weight are. A build without CUDA selects other kernels."""
    last = torch._prims_common.suggest_memory_format
    either = torch.channels_last in (last(images), last(weight))
    return torch.channels_last if either else torch.contiguous_format


def _move(module: nn.Module, device: Any = None, *_: Any, **__: Any) -> nn.Module:
    if device is None:
        return module
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                moved = parameter.detach().to(device)
                part._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(device)
    return module


def _make_adam(parameters: Any, lr: Tensor, **options: Any) -> torch.optim.Adam:
    adam = EagerAdam(parameters, lr=1e-3, **options)  # the constructor compares a rate with 0
    for group in adam.param_groups:
        group["lr"] = lr
    return adam


def _fused_adam(
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    _: list[Tensor],
    steps: list[Tensor],
    *,
    lr: Tensor,
    **__: Any,
) -> None:
    """Check what the fused CUDA kernel requires: one device, and one shape, dtype and layout per parameter."""
    for parameter, gradient, mean, square, step in zip(parameters, gradients, means, squares, steps, strict=True):
        assert {each.device for each in (gradient, mean, square, step, lr)} == {parameter.device}
        assert {each.dtype for each in (gradient, mean, square)} == {parameter.dtype}
        assert {each.shape for each in (gradient, mean, square)} == {parameter.shape}
        assert {mean.stride(), square.stride()} == {parameter.stride()}


_library = torch.library.Library("aten", "IMPL", "Meta")
_library.impl("_fused_adam_.tensor_lr", _fused_adam)


# ----------------------------------------------------------------------------
# Operations. A custom operator counts as the kernels that it launches.

ONE_KERNEL_PER_IMAGE = torch.ops.aten.im2col.default  # on CUDA: its first argument is (N, C, H, W)
WITHOUT_A_KERNEL = ("alias", "detach", "lift_fresh", "_reshape_alias", "_unsafe_view")


class OperationLog(TorchDispatchMode):
    """Logs every operation that runs inside the block, with its tensors' devices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launched: Counter[str] = Counter()
        self.devices: set[torch.device] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)]
        self.devices |= {tensor.device for tensor in tensors}
        if launches_a_kernel(func):
            self.launched[str(func)] += len(args[0]) if func is ONE_KERNEL_PER_IMAGE else 1
        return result

    @property
    def kernels(self) -> int:
        return sum(self.launched.values())


def launches_a_kernel(func: Any) -> bool:
    """False for views, uninitialised memory and bookkeeping."""
    name = func.overloadpacket.__name__
    if func.namespace in ("prim", "profiler") or func.is_view or "empty" in name:
        return False
    return name not in WITHOUT_A_KERNEL
