"""Training on this machine: python -m benchmarks.training [--rounds R] [--peer COMMAND] [--epochs E]

Prints the median milliseconds of one iteration of the original recipe at batch 100, alternating between variants in
every round. On a CPU: torch's own layers in float32 (plain), this project's in float32 and bf16, and the peer, a
command whose output contains `tot N ms/iter`. On a GPU: kernel by kernel (eager), compiled, and both captured as a
graph. Then the share of this machine's matrix product peak, and the time by operation. With --epochs, the time of
`acgan train`.
"""

import argparse
import contextlib
import itertools
import re
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from models.config import Precision, TrainingConfig
from models.data.dataset import Dataset
from models.data.printed import draw_split
from models.networks.layers import Convolution, Dropout, UpsampleSame, UpsampleValid
from models.torch_device import describe, find_device
from models.training.fused.iteration import FusedIteration
from models.training.trainer import Trainer

GFLOP = 100.0  # per iteration with direct convolutions: 34 in the discriminator step, 66 in the generator step


class Way(NamedTuple):
    """One variant of the iteration."""

    precision: Precision
    plain: bool = False  # torch's own layers
    compiled: bool = False
    captured: bool = False


ON_CPU = {
    "plain fp32": Way("fp32", plain=True),
    "fast fp32": Way("fp32"),
    "fast bf16": Way("bf16"),
}
ON_GPU = {
    "eager fp32": Way("fp32"),
    "graph fp32": Way("fp32", captured=True),
    "eager bf16": Way("bf16"),
    "compiled bf16": Way("bf16", compiled=True),
    "graph bf16": Way("bf16", captured=True),
    "compiled graph bf16": Way("bf16", compiled=True, captured=True),
}


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Replace this project's layers with torch's own."""

    def same(self: UpsampleSame, x: Tensor) -> Tensor:
        return nn.ConvTranspose2d.forward(self, x)[:, :, :-1, :-1]

    with (
        mock.patch.object(Dropout, "forward", nn.Dropout.forward),
        mock.patch.object(Convolution, "forward", nn.Conv2d.forward),
        mock.patch.object(UpsampleValid, "forward", nn.ConvTranspose2d.forward),
        mock.patch.object(UpsampleSame, "forward", same),
    ):
        yield


def make_trainer(way: Way) -> Trainer:
    images, labels = (torch.from_numpy(array) for array in draw_split(0, 6000))
    dataset = Dataset("printed", images, labels, images[:500], labels[:500])
    trainer = Trainer(TrainingConfig(precision=way.precision), dataset, find_device("auto"))
    if way.compiled:
        compile_networks(trainer)
    if not way.captured:
        trainer.iterate = trainer.compute
    return trainer


def compile_networks(trainer: Trainer) -> None:
    """Compile both networks for the iteration's fixed shapes. Their first calls compile."""
    if isinstance(trainer.compute, FusedIteration):
        for name in ("generate", "judge"):
            setattr(trainer.compute, name, torch.compile(getattr(trainer.compute, name), dynamic=False))
    else:
        trainer.generator.compile(dynamic=False)
        trainer.discriminator.compile(dynamic=False)


def iterations(way: Way, count: int) -> list[float]:
    """Time `count` iterations in milliseconds, after `count / 3` that are not counted; on a GPU in blocks of 20."""
    with plain() if way.plain else contextlib.nullcontext():
        trainer, times = make_trainer(way), []
        block = 20 if trainer.device.type == "cuda" else 1
        for turn in range(count + count // 3):
            started = time.perf_counter()
            for iteration in range(block):
                trainer.step(1, (turn * block + iteration) % trainer.batches)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - started) / block)
    return times[count // 3 :]


def peer(command: str) -> float:
    output = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout  # noqa: S603
    match = re.search(r"tot (\d+) ms/iter", output)
    if match is None:
        raise SystemExit(f"the peer did not print its milliseconds per iteration: {output}")
    return float(match[1])


def gemm_peak(dtype: torch.dtype) -> float:
    """Measure the GFLOP/s of a product of two 2048 x 2048 matrices."""
    device = find_device("auto")
    a, times = torch.randn(2048, 2048, device=device).to(dtype), []
    block = 20 if device.type == "cuda" else 1  # wait for a GPU once per block
    for _ in range(15):
        started = time.perf_counter()
        for _ in range(block):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - started) / block)
    return 2 * 2048**3 / statistics.median(times) / 1e9


def where_the_time_goes(way: Way) -> Table:
    trainer = make_trainer(way)
    on_gpu = trainer.device.type == "cuda"
    for iteration in range(3):
        trainer.step(1, iteration)
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
        for iteration in range(3, 8):
            trainer.step(1, iteration)
        if on_gpu:
            torch.cuda.synchronize()
    times = {
        entry.key: entry.self_device_time_total if on_gpu else entry.self_cpu_time_total
        for entry in profiler.key_averages()
    }
    table = Table("operation", "ms", "share", title=f"Time by operation ({trainer.precision})")
    for key, spent in sorted(times.items(), key=lambda item: -item[1])[:12]:
        table.add_row(key[:80], f"{spent / 5e3:.2f}", f"{spent / sum(times.values()):.0%}")
    return table


def whole_run(epochs: int, dataset: str) -> float:
    """Time `acgan train` in seconds: start, training, evaluation, plots, checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--epochs", str(epochs), "--dataset", dataset, "--out", folder]
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "app.cli", "train", *options], check=True)  # noqa: S603
        return time.monotonic() - started


def summary(times: dict[str, list[list[float]]], peak: float, device: torch.device) -> Table:
    title = f"{describe(device)}, torch {torch.__version__}, bf16 matrix products {peak:.0f} GFLOP/s"
    table = Table(
        "", "ms per iteration, each round", "median", "spread", "images/s", "s per epoch", "of peak", title=title
    )
    for name, rounds in times.items():
        ms = statistics.median(statistics.median(times_of_round) for times_of_round in rounds)
        every = sorted(itertools.chain.from_iterable(rounds))
        table.add_row(
            name,
            " ".join(f"{statistics.median(times_of_round):.4g}" for times_of_round in rounds),
            f"{ms:.4g}",
            f"{every[len(every) // 10]:.4g}-{every[-1 - len(every) // 10]:.4g}",
            f"{1e5 / ms:.0f}",
            f"{0.6 * ms:.3g}",
            f"{GFLOP / (ms / 1e3) / peak:.0%}",
        )
    return table


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--iterations", type=int, default=16)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--peer", help="a command to time alternately with ours")
    options.add_argument("--epochs", type=int, default=0, help="also time `acgan train` with this number of epochs")
    options.add_argument("--dataset", default="printed", help="its training data; mnist is read from ACGAN_DATA_DIR")
    given = options.parse_args()

    device, console = find_device("auto"), Console(width=140)
    ways = ON_GPU if device.type == "cuda" else ON_CPU
    times: dict[str, list[list[float]]] = {}
    peaks = []
    for _ in range(given.rounds):
        peaks.append(gemm_peak(torch.bfloat16))
        for name, way in ways.items():
            times.setdefault(name, []).append(iterations(way, given.iterations))
        if given.peer:
            times.setdefault("peer", []).append([peer(given.peer)])
    console.print(summary(times, statistics.median(peaks), device))
    if given.peer:
        fast, theirs = (statistics.median(map(statistics.median, times[name])) for name in ("fast bf16", "peer"))
        console.print(f"fast bf16 takes {fast / theirs:.2f} of the peer's time")
    console.print(where_the_time_goes(ways["graph bf16" if device.type == "cuda" else "fast bf16"]))
    console.print(f"Peak resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    if given.epochs:
        console.print(f"acgan train, {given.epochs} epochs: {whole_run(given.epochs, given.dataset):.1f} s in total")


if __name__ == "__main__":
    main()
