"""Training on this machine: python -m benchmarks.training [--iterations N] [--rounds R] [--peer COMMAND]

Prints, in turn and round after round, the median milliseconds of one iteration of the seed's recipe at batch 100:
with torch's own layers in float32 (plain), with this project's layers in float32 and bf16, and the peer's, a command
whose output holds `tot N ms/iter`. Then the share of this machine's matrix product peak, and where the time goes.
"""

import argparse
import contextlib
import re
import resource
import shlex
import statistics
import subprocess
import time
from collections.abc import Iterator
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from models.acceleration import describe, find_device
from models.config import Precision, TrainingConfig
from models.data import Dataset
from models.layers import Convolution, Dropout, UpsampleSame, UpsampleValid
from models.printed import draw_split
from models.trainer import Trainer

GFLOP = 100.0  # an iteration: 34 in the discriminator step, 66 in the generator step


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Let torch's own layers do the work of ours."""

    def same(self: UpsampleSame, x: Tensor) -> Tensor:
        return nn.ConvTranspose2d.forward(self, x)[:, :, :-1, :-1]

    with (
        mock.patch.object(Dropout, "forward", nn.Dropout.forward),
        mock.patch.object(Convolution, "forward", nn.Conv2d.forward),
        mock.patch.object(UpsampleValid, "forward", nn.ConvTranspose2d.forward),
        mock.patch.object(UpsampleSame, "forward", same),
    ):
        yield


def make_trainer(precision: Precision) -> Trainer:
    images, labels = (torch.from_numpy(array) for array in draw_split(0, 6000))
    dataset = Dataset("printed", images, labels, images[:500], labels[:500])
    return Trainer(TrainingConfig(precision=precision), dataset, find_device("auto"))


def iterations(precision: Precision, count: int) -> list[float]:
    """Time `count` iterations in milliseconds, after a third as many that are not counted."""
    trainer = make_trainer(precision)
    times = []
    for iteration in range(count + count // 3):
        started = time.perf_counter()
        trainer.step(1, iteration % trainer.batches)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - started))
    return times[count // 3 :]


def peer(command: str) -> float:
    told = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = re.search(r"tot (\d+) ms/iter", told)
    if found is None:
        raise SystemExit(f"the peer did not tell its milliseconds an iteration: {told}")
    return float(found[1])


def gemm_peak(dtype: torch.dtype) -> float:
    """Measured GFLOP/s of a product of two 2048 x 2048 matrices."""
    a = torch.randn(2048, 2048, device=find_device("auto")).to(dtype)
    times = []
    for _ in range(15):
        started = time.perf_counter()
        (a @ a).flatten()[0].item()
        times.append(time.perf_counter() - started)
    return 2 * 2048**3 / statistics.median(times) / 1e9


def where_the_time_goes() -> Table:
    trainer = make_trainer("auto")
    for iteration in range(3):
        trainer.step(1, iteration)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for iteration in range(3, 8):
            trainer.step(1, iteration)
    spent = sorted(profiler.key_averages(), key=lambda entry: -entry.self_cpu_time_total)
    total = sum(entry.self_cpu_time_total for entry in spent)
    table = Table("operation", "ms", "share", title=f"Where the time goes ({trainer.precision})")
    for entry in spent[:10]:
        share = entry.self_cpu_time_total / total
        table.add_row(entry.key, f"{entry.self_cpu_time_total / 5e3:.1f}", f"{share:.0%}")
    return table


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--iterations", type=int, default=16)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--peer", help="a command to be timed in turn with ours")
    given = options.parse_args()

    medians: dict[str, list[float]] = {}
    peaks = []
    for _ in range(given.rounds):
        peaks.append(gemm_peak(torch.bfloat16))
        with plain():
            medians.setdefault("plain fp32", []).append(statistics.median(iterations("fp32", given.iterations)))
        for precision in ("fp32", "bf16"):
            times = iterations(precision, given.iterations)
            medians.setdefault(f"fast {precision}", []).append(statistics.median(times))
        if given.peer:
            medians.setdefault("peer", []).append(peer(given.peer))

    device = find_device("auto")
    peak = statistics.median(peaks)
    title = f"{describe(device)}, torch {torch.__version__}, bf16 matrix products {peak:.0f} GFLOP/s"
    table = Table(
        "", "ms an iteration, each round", "median", "images/s", "s an epoch", "share of the peak", title=title
    )
    for name, each in medians.items():
        ms = statistics.median(each)
        rounds = " ".join(f"{one:.0f}" for one in each)
        table.add_row(
            name, rounds, f"{ms:.0f}", f"{1e5 / ms:.0f}", f"{0.6 * ms:.0f}", f"{GFLOP / (ms / 1e3) / peak:.0%}"
        )
    console = Console(width=120)
    console.print(table)
    if "peer" in medians:
        ratio = statistics.median(medians["fast bf16"]) / statistics.median(medians["peer"])
        console.print(f"fast bf16 takes {ratio:.2f} of the peer's time")
    console.print(where_the_time_goes())
    console.print(f"Most memory resident: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
