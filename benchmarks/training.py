"""Milliseconds an iteration, on this machine: python -m benchmarks.training [iterations]"""

import statistics
import sys
import time

import torch

from models.acceleration import describe, find_device
from models.config import Precision, TrainingConfig
from models.data import Dataset
from models.printed import draw_split
from models.trainer import Trainer


def iterations(precision: Precision, count: int) -> list[float]:
    """Time `count` iterations of the seed's recipe in milliseconds, after a third as many that are not counted."""
    device = find_device("auto")
    images, labels = (torch.from_numpy(array) for array in draw_split(0, 1000))
    trainer = Trainer(TrainingConfig(precision=precision), Dataset("printed", images, labels, images, labels), device)
    times = []
    for iteration in range(count + count // 3):
        started = time.perf_counter()
        trainer.step(1, iteration % trainer.batches)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - started))
    return times[count // 3 :]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"{describe(find_device('auto'))}, torch {torch.__version__}, batch 100")  # noqa: T201
    for precision in ("fp32", "bf16", "fp32", "bf16"):
        times = iterations(precision, count)
        median = statistics.median(times)
        spread = f"{min(times):.0f}-{max(times):.0f}"
        print(f"{precision}: {median:6.0f} ms an iteration ({spread}), {0.6 * median:5.0f} s an epoch")  # noqa: T201


if __name__ == "__main__":
    main()
