"""Milliseconds per iteration, captured and kernel by kernel, and the kernels of a captured one by time."""

import itertools
import json
import statistics
import sys
import time
from functools import partial
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.context import PartContext, is_captured, run_eagerly, uses_triton
from benchmarks.gpu.parts.machine import bf16_product
from benchmarks.training import compile_networks
from models.config import NUM_CLASSES, Precision, RecipeName, TrainingConfig
from models.data.dataset import Dataset
from models.networks.precision import SettledPrecision
from models.training.fused.iteration import FusedIteration
from models.training.fused.kernels import TorchKernels
from models.training.iteration import Iteration
from models.training.recipes import RECIPES
from models.training.trainer import Trainer

GFLOP: dict[RecipeName, float] = {"seed": 99.7, "sharp": 80.3}  # per iteration at batch 100, with direct convolutions
BATCH = 100
EPOCH_ITERATIONS = 600  # of 60,000 images
KERNELS_FILE = "kernels.json"


class WithoutTriton(FusedIteration):
    """The fused iteration with the reference kernels in torch operations."""

    def __init__(
        self, config: TrainingConfig, precision: SettledPrecision, device: torch.device, classes: int = NUM_CLASSES
    ) -> None:
        super().__init__(config, precision, device, classes)
        self.kernels = TorchKernels()


KINDS: dict[str, type[Iteration]] = {"fused": FusedIteration, "fused without Triton": WithoutTriton, "plain": Iteration}


class Way(NamedTuple):
    """One variant of the iteration."""

    how: str  # graph, eager, compiled graph
    recipe: RecipeName
    precision: Precision = "auto"
    iteration: str = "fused"  # of KINDS; plain uses the networks' own layers, as on a CPU
    benchmark: bool = False  # cuDNN tries its kernels and uses the fastest
    deterministic: bool = True

    @property
    def name(self) -> str:
        flags = " cudnn.benchmark" * self.benchmark + " not deterministic" * (not self.deterministic)
        return f"{self.how} {self.recipe} {self.precision} {self.iteration}{flags}"


WAYS = (
    Way("graph", "seed"),
    Way("graph", "sharp"),
    Way("eager", "seed"),
    Way("graph", "seed", iteration="plain"),
    Way("graph", "seed", iteration="fused without Triton"),
    Way("eager", "sharp"),
    Way("graph", "sharp", iteration="fused without Triton"),
    Way("graph", "sharp", iteration="plain"),
    Way("eager", "seed", iteration="plain"),
    Way("graph", "seed", "fp32"),
    Way("graph", "sharp", "fp32"),
    Way("graph", "seed", deterministic=False),
    Way("graph", "seed", benchmark=True),
    Way("graph", "seed"),  # again: the difference from the first is noise
)


def run(context: PartContext) -> None:
    dataset = context.load_dataset(6000)
    peak = context.measure("bf16 product", partial(bf16_product, context))
    tflops = peak["tflops"] if peak else None
    for way in WAYS[:6] if context.tiny else WAYS:
        context.measure(way.name, partial(measure_way, context, dataset, way, tflops))
    context.measure("host time", partial(host_time, context, dataset))
    for recipe in RECIPES:  # as the trainer chooses
        context.measure(f"kernels {recipe}", partial(kernels, context, dataset, recipe))


def measure_way(context: PartContext, dataset: Dataset, way: Way, peak_tflops: float | None) -> dict[str, object]:
    """Time iterations in blocks. Returns the median and the range in ms, TFLOP/s and their share of the peak."""
    trainer = context.make_trainer(dataset, KINDS[way.iteration], recipe=way.recipe, precision=way.precision)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = way.benchmark, way.deterministic
    prepare(trainer, way)
    iterations = itertools.count()

    def step() -> None:
        trainer.step(1, next(iterations) % trainer.batches)

    began = time.perf_counter()
    step()
    context.synchronize()
    first = time.perf_counter() - began
    times = context.time_blocks(step, *(3, 1) if context.tiny else (13, 50))[1:]
    ms = statistics.median(times)
    tflops = GFLOP[way.recipe] * trainer.config.batch_size / BATCH / ms
    return {
        **way._asdict(),
        "precision": trainer.precision,
        "captured": is_captured(trainer),
        "triton": uses_triton(trainer),
        "first_s": round(first, 2),
        "ms": round(ms, 4),
        "ms_range": [round(min(times), 4), round(max(times), 4)],
        "s_per_epoch": round(EPOCH_ITERATIONS * ms / 1e3, 3),
        "tflops": round(tflops, 2),
        "share_of_peak": round(tflops / peak_tflops, 4) if peak_tflops else None,
    }


def prepare(trainer: Trainer, way: Way) -> None:
    if way.how == "eager":
        run_eagerly(trainer)
    elif way.how.startswith("compiled"):
        compile_networks(trainer)


def host_time(context: PartContext, dataset: Dataset) -> dict[str, object]:
    """Time Python's launch of one captured iteration. If the device is faster, it waits for Python."""
    trainer = context.make_trainer(dataset)
    trainer.step(1, 0)
    context.synchronize()
    steps = 2 if context.tiny else 20  # few: the queue of launches must not be full
    began = time.perf_counter()
    for iteration in range(steps):
        trainer.step(1, iteration % trainer.batches)
    return {"ms": round(1e3 * (time.perf_counter() - began) / steps, 4)}


def kernels(context: PartContext, dataset: Dataset, recipe: RecipeName) -> dict[str, object]:
    """Profile five iterations. Writes all kernels to kernels.json and returns the first 25: microseconds and launches
    per iteration, name."""
    trainer, steps = context.make_trainer(dataset, recipe=recipe), 5
    for iteration in range(3):
        trainer.step(1, iteration)
    context.synchronize()
    with profile(activities=[ProfilerActivity.CUDA if context.on_gpu else ProfilerActivity.CPU]) as profiler:
        for iteration in range(3, 3 + steps):
            trainer.step(1, iteration % trainer.batches)
        context.synchronize()
    spent = "self_device_time_total" if context.on_gpu else "self_cpu_time_total"
    averages = profiler.key_averages()
    rows = [(round(getattr(row, spent) / steps, 2), row.count / steps, row.key[:200]) for row in averages]
    rows.sort(reverse=True)
    keep_kernels(context, recipe, rows)
    return {
        "launches": round(sum(row[1] for row in rows), 1),
        "us": round(sum(row[0] for row in rows)),
        "first": [(us, launches, name[:120]) for us, launches, name in rows[:25]],
    }


def keep_kernels(context: PartContext, recipe: RecipeName, rows: list[tuple[float, float, str]]) -> None:
    path = context.out / KERNELS_FILE
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, recipe: rows}, indent=1))
    for us, launches, name in rows[:25]:
        sys.stdout.write(f"  {us:9.1f} us {launches:6.1f} x  {name[:110]}\n")
