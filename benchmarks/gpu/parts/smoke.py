"""Smoke test: capture and replay of each recipe in both precisions, and the end of an epoch, step by step."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.context import PartContext, is_captured, run_eagerly, uses_triton
from models.config import Precision, RecipeName
from models.data.dataset import Dataset
from models.evaluation.epoch_snapshot import snapshot_epoch
from models.evaluation.quality_gate import DIGITS, find_quality_gate
from models.networks import weights
from models.sampling.epoch_plot import epoch_plot
from models.sampling.png import encode_png
from models.sampling.sampler import prepare
from models.training import training_state
from models.training.recipes import RECIPES
from models.training.trainer import Trainer

PRECISIONS: tuple[Precision, ...] = ("fp32", "auto")  # auto is bf16 on a GPU


class DifferentResults(Exception):
    """Two ways to compute the same iterations gave different tensors."""


def run(context: PartContext) -> None:
    dataset = context.load_dataset(6000)
    for recipe in RECIPES:
        for precision in PRECISIONS[1:] if context.tiny else PRECISIONS:
            for name, check in CHECKS.items():
                context.measure(f"{recipe} {precision}: {name}", partial(check, context, dataset, recipe, precision))
        context.measure(f"{recipe}: end of an epoch", partial(end_of_epoch, context, dataset, recipe))


def first_iterations(
    context: PartContext, dataset: Dataset, recipe: RecipeName, precision: Precision
) -> dict[str, object]:
    """Train some iterations and time the first. Raises NonFiniteLoss if the losses are not finite."""
    trainer = context.make_trainer(dataset, recipe=recipe, precision=precision)
    began = time.perf_counter()
    trainer.step(1, 0)
    context.synchronize()
    seconds = time.perf_counter() - began
    iterations = 2 if context.tiny else 6
    train(trainer, 1, iterations)
    trainer.iteration = iterations
    generator, discriminator = trainer.mean_losses()
    return {
        "first_s": round(seconds, 2),
        "captured": is_captured(trainer),
        "triton": uses_triton(trainer),
        "precision": trainer.precision,
        "generator_loss": round(generator.loss, 4),
        "discriminator_loss": round(discriminator.loss, 4),
    }


def captured_equals_eager(
    context: PartContext, dataset: Dataset, recipe: RecipeName, precision: Precision
) -> dict[str, object]:
    """Compare the state after three iterations. Raises DifferentResults."""
    captured, eager = (context.make_trainer(dataset, recipe=recipe, precision=precision) for _ in range(2))
    run_eagerly(eager)
    train(captured, 0, 3)
    train(eager, 0, 3)
    return compare(captured.tensors(), eager.tensors()) | {"captured": is_captured(captured)}


def repeats(context: PartContext, dataset: Dataset, recipe: RecipeName, precision: Precision) -> dict[str, object]:
    """Compare the states of two equal runs of some iterations. Raises DifferentResults."""
    states = []
    for _ in range(2):
        trainer = context.make_trainer(dataset, recipe=recipe, precision=precision)
        train(trainer, 0, 2 if context.tiny else 10)
        states.append({name: tensor.clone() for name, tensor in trainer.tensors().items()})
    return compare(*states)


def no_synchronization(
    context: PartContext, dataset: Dataset, recipe: RecipeName, precision: Precision
) -> dict[str, object]:
    """Train two iterations in a mode in which every wait for the GPU raises an error."""
    trainer = context.make_trainer(dataset, recipe=recipe, precision=precision)
    train(trainer, 0, 1)
    context.synchronize()
    if context.on_gpu:
        torch.cuda.set_sync_debug_mode("error")
    try:
        train(trainer, 1, 3)
    finally:
        if context.on_gpu:
            torch.cuda.set_sync_debug_mode("default")
    return {"checked": context.on_gpu}


CHECKS = {
    "first iterations": first_iterations,
    "captured equals eager": captured_equals_eager,
    "two equal runs": repeats,
    "no synchronisation": no_synchronization,
}


def train(trainer: Trainer, first: int, stop: int) -> None:
    for iteration in range(first, stop):
        trainer.step(1, iteration % trainer.batches)


def compare(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, object]:
    """Raise DifferentResults, with the three largest differences, unless the tensors are equal bit for bit."""
    different = {
        name: float((tensor.double() - second[name].double()).abs().max())
        for name, tensor in first.items()
        if not torch.equal(tensor, second[name])
    }
    if different:
        worst = sorted(different.items(), key=lambda item: -item[1])[:3]
        raise DifferentResults(f"{len(different)} of {len(first)} tensors differ, most of all {worst}")
    return {"tensors": len(first), "equal": "bit for bit"}


def end_of_epoch(context: PartContext, dataset: Dataset, recipe: RecipeName) -> dict[str, object]:
    """Time all operations at the end of an epoch, in milliseconds. The second of two calls counts.

    The training waits for the evaluation, the snapshot, and sometimes for a state. Files are written in parallel.
    """
    trainer = context.make_trainer(dataset, recipe=recipe)
    trained = next(trainer.run())
    digits = 20 if context.tiny else DIGITS
    latent_size, cache = trainer.config.latent_size, context.out / "cache"
    gate = find_quality_gate(trainer.dataset, latent_size, context.device, cache, digits)
    epoch, state = snapshot_epoch(trainer, trained, gate), trainer.state()
    folded, average = prepare(trainer.generator.eval(), context.device), trainer.averaged_generator()
    steps: dict[str, Callable[[], object]] = {
        "evaluation": lambda: trainer.evaluate(1),
        "snapshot, all of it": lambda: snapshot_epoch(trainer, trained, gate),
        "  averaging": trainer.averaged_generator,
        "  folding": lambda: prepare(trainer.generator, context.device),
        "  verdict": lambda: gate.verdict(folded, average),
        "  plot": lambda: epoch_plot(folded, trainer.dataset, 1, trainer.config.seed),
        "  weights to the host": lambda: [
            weights.snapshot(network) for network in (trainer.generator, trainer.discriminator)
        ],
        "state to the host": trainer.state,
        "written in parallel: png": lambda: encode_png(epoch.plot),
        "written in parallel: weights": lambda: weights.state_to_bytes(epoch.discriminator),
        "state as bytes": lambda: training_state.to_bytes(state),
    }
    blocks = 1 if context.tiny else 2
    ms = {name: round(context.time_blocks(step, blocks, 1)[-1], 1) for name, step in steps.items()}
    waits = round(ms["evaluation"] + ms["snapshot, all of it"], 1)
    return {"test_images": len(dataset.test_labels), "ms": ms, "training_waits_ms": waits}
