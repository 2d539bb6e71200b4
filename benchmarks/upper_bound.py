"""The upper bound without a server: this project's drawing alone, and drawing and encoding, on all cores.

python -m benchmarks.upper_bound GENERATOR [SECONDS] prints JSON.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from models.devices import processors
from models.networks.weights import generator_from_bytes
from models.sampling.grid import sheet
from models.sampling.png import encode_png
from models.sampling.sampler import BATCH, draw_digits, prepare


def measure(work: Callable[[int], object], n: int, seconds: float) -> dict[str, float]:
    """Call `work` with increasing seeds for this time, on one thread for each core."""
    rounds: list[int] = []
    deadline = time.perf_counter() + seconds

    def repeat() -> None:
        torch.set_num_threads(1)
        while time.perf_counter() < deadline:
            work(len(rounds))
            rounds.append(n)

    started, cpu = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=repeat) for _ in range(processors())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"images_per_s": sum(rounds) / took, "images_per_cpu_s": sum(rounds) / cpu}


def main() -> None:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    generator = prepare(generator_from_bytes(Path(sys.argv[1]).read_bytes()), torch.device("cpu"))
    figures = {}
    for n in (1, 40, BATCH):

        def draw(seed: int, n: int = n) -> object:
            return draw_digits(generator, 7, n, seed)

        def encode(seed: int, n: int = n) -> object:
            return encode_png(sheet(draw_digits(generator, 7, n, seed)))

        figures[f"drawing, n={n}"] = measure(draw, n, seconds)
        figures[f"drawing and encoding, n={n}"] = measure(encode, n, seconds)
    print(json.dumps(figures))  # noqa: T201


if __name__ == "__main__":
    main()
