"""Runs the Triton kernels without a GPU. Prints one JSON object.

With TRITON_INTERPRET=1, `python -m tests.models.training.fused.triton_checks run` compares them with their reference in
Triton's interpreter; `... compile` compiles them to machine code for an H100.
"""

import itertools
import json
import sys
from typing import Any

import torch
from torch import Tensor

from models.config import TrainingConfig
from models.training.fused.iteration import FusedIteration
from models.training.fused.kernels import TorchKernels, TritonKernels
from models.training.recipes import RECIPES

P = 0.3


def difference(ours: list[Tensor], reference: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, reference, strict=True))


def activations(kernels: TorchKernels | TritonKernels, dropout: bool) -> list[Tensor]:
    """The result and both gradients, for more elements than one program has, and for a number that is no power of 2."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(3, 48, 7, 7, generator=random).to(memory_format=torch.channels_last).requires_grad_()
    bias = torch.randn(48, generator=random).requires_grad_()
    bits = torch.randint(-32768, 32768, (x.numel(),), dtype=torch.int16, generator=random)
    y = kernels.activate(x, bias, bits if dropout else None, 0.2, P if dropout else 0.0)
    y.backward(torch.randn(y.shape, generator=random))
    assert x.grad is not None
    assert bias.grad is not None
    return [y.detach(), x.grad, bias.grad]


def folds(kernels: TorchKernels | TritonKernels) -> list[Tensor]:
    """The result and its gradient."""
    random = torch.Generator().manual_seed(3)
    columns = torch.randn(3, 9, 25, 40, generator=random, requires_grad=True)
    y = kernels.fold(columns, size=3, taps=5)
    y.backward(torch.randn(y.shape, generator=random))
    assert columns.grad is not None
    return [y.detach(), columns.grad]


def scores(kernels: TorchKernels | TritonKernels, batch: int, adc: bool, classes: int = 10) -> list[Tensor]:
    """Loss rows and gradients of both steps."""
    random = torch.Generator().manual_seed(batch)
    real, fake = torch.eye(classes)[torch.randint(classes, (2, batch), generator=random)]
    width = 1 + (2 * classes if adc else classes)
    logits = 3 * torch.randn((3 if adc else 2) * batch, width, generator=random)
    logits[0, 0], logits[1, 0], logits[2, 1] = 90.0, -90.0, 90.0  # values at which a careless formula overflows
    discriminator = kernels.score_discriminator(logits, real, fake, 0.01, adc)
    generator = kernels.score_generator(logits[:batch], real, 0.95, adc)
    return [*discriminator, *generator]


def iteration(kernels: TorchKernels | TritonKernels, recipe: str) -> list[Tensor]:
    """All gradients of a whole iteration."""
    made = FusedIteration(TrainingConfig.model_validate({"recipe": recipe}), "fp32", torch.device("cpu"))
    made.kernels = kernels
    torch.manual_seed(2)
    images = torch.rand(4, 1, 28, 28) * 2 - 1
    made.discriminator_step(images, torch.arange(4), *made.draw_latents(4))
    made.generator_step(*made.draw_latents(4))
    parameters = [*made.discriminator.parameters(), *made.generator.parameters()]
    return [parameter.grad / parameter.grad.abs().max() for parameter in parameters if parameter.grad is not None]


def run() -> dict[str, float]:
    triton, torchs = TritonKernels(), TorchKernels()
    found = {"fold": difference(folds(triton), folds(torchs))}
    for dropout in (False, True):
        found[f"activate dropout={dropout}"] = difference(activations(triton, dropout), activations(torchs, dropout))
    for adc in (False, True):
        for batch in (7, 100, 130):
            found[f"scores adc={adc} {batch}"] = difference(scores(triton, batch, adc), scores(torchs, batch, adc))
        for classes in (2, 26, 100):
            found[f"scores adc={adc} of {classes} classes"] = difference(
                scores(triton, 70, adc, classes), scores(torchs, 70, adc, classes)
            )
    for recipe in RECIPES:
        found[f"iteration {recipe}"] = difference(iteration(triton, recipe), iteration(torchs, recipe))
    return found


def compile_all() -> dict[str, int]:
    """Compile every kernel for compute capability 9.0. Returns the sizes of the machine code in bytes."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from models.training.fused import triton_kernels as kernels

    signatures: list[tuple[Any, dict[str, str], dict[str, Any]]] = []
    elementwise = {"n": "i32", "slope": "fp32", "scale": "fp32"}
    for dtype in ("*bf16", "*fp32"):
        inputs = {"x": dtype, "bias": dtype, "bits": "*i16", "y": dtype, "channels": "i32", "threshold": "i32"}
        outputs = {"gradient": dtype, "y": dtype, "result": dtype}
        for dropout in (False, True):
            constants = {"dropout": dropout, "block": kernels.BLOCK}
            signatures.append((kernels._activate, inputs | elementwise, constants))
            signatures.append((kernels._activate_backward, outputs | elementwise, constants))
        sizes_of = {"channels": "i32", "n": "i32", "columns": dtype, "y": dtype}
        constants = {"size": 3, "taps": 5, "block": kernels.BLOCK}
        signatures += [(kernels._fold, sizes_of, constants), (kernels._unfold, sizes_of, constants)]
    numbers = dict.fromkeys(("classes", "width", "rows"), "i32")
    common = dict.fromkeys(("logits", "row_out", "gradient"), "*fp32") | numbers
    discriminator = common | {
        "real": "*fp32",
        "fake": "*fp32",
        "batch": "i32",
        "soft_one": "fp32",
        "slope_weight": "fp32",
    }
    generator = common | {"labels": "*fp32", "target": "fp32"}
    for adc, classes in itertools.product((False, True), (10, 100)):
        constants = {"adc": adc, **kernels.block_shape(1 + (2 * classes if adc else classes))}
        signatures.append((kernels._score_discriminator, discriminator, constants))
        signatures.append((kernels._score_generator, generator, constants))

    sizes = {}
    for kernel, types, constants in signatures:
        order = {name: types.get(name, "constexpr") for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=order, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        sizes[f"{kernel.arg_names} {sorted(types.items())} {constants}"] = len(compiled.asm["cubin"])
    return sizes


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run() if sys.argv[1] == "run" else compile_all()))
