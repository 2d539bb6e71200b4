"""The limit, with no server: this project's drawing alone, and drawing and encoding, on all cores.

python -m benchmarks.limit GENERATOR [SECONDS] prints JSON.
"""

import json
import sys
import time
from collections.abc import Callable

import torch

from benchmarks.peers.drawing import load_ours
from models.drawing import latents
from models.images import encode_png, sheet


def measure(work: Callable[[int], object], n: int, seconds: float) -> dict[str, float]:
    """Do the work with seed after seed for so long."""
    for seed in range(3):
        work(seed)
    rounds, started, cpu = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - started) < seconds:
        work(rounds)
        rounds += 1
    return {"images_per_s": n * rounds / took, "images_per_cpu_s": n * rounds / (time.process_time() - cpu)}


def main() -> None:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    engine, latent_size = load_ours(sys.argv[1])
    found = {}
    for n in (1, 40):
        labels = torch.full((n,), 7)

        def draw(seed: int, n: int = n, labels: torch.Tensor = labels) -> torch.Tensor:
            return engine(latents(seed, 0, n, latent_size), labels)

        def encode(seed: int, draw: Callable[[int], torch.Tensor] = draw) -> bytes:
            return encode_png(sheet(draw(seed)))

        found[f"drawing, n={n}"] = measure(draw, n, seconds)
        found[f"drawing and encoding, n={n}"] = measure(encode, n, seconds)
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
