"""Time to draw and encode a digit on one thread of this processor: python -m benchmarks.drawing"""

import io
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from models.networks.acgan import Generator
from models.networks.precision import to_channels_last
from models.sampling.grid import sheet
from models.sampling.png import ENCODER, encode_png
from models.sampling.sampler import SampleRange, draw_batch, draw_digits, prepare

ROUNDS = 7


def main() -> None:
    torch.set_num_threads(1)
    generator = Generator().eval()
    to_channels_last(generator)
    folded = prepare(generator, torch.device("cpu"))
    print("digits a batch | torch's layers | folded | ms per digit, one thread, best of several")  # noqa: T201
    for n in (1, 8, 16, 40, 64, 128):
        noise, labels = SampleRange(7, n, seed=0).cut(0, n, 100)
        plain = seconds(lambda: generator(noise, labels)) / n  # noqa: B023
        folded_seconds = seconds(lambda: draw_batch(folded, noise, labels)) / n  # noqa: B023
        print(f"{n:14d} | {1e3 * plain:14.3f} | {1e3 * folded_seconds:6.3f}")  # noqa: T201
    print(f"\nsheet of | Pillow | {ENCODER} | µs")  # noqa: T201
    for n in (1, 40, 1000):
        digits = draw_digits(folded, 7, n, seed=0)
        pillow = seconds(lambda: by_pillow(sheet(digits)))  # noqa: B023
        fast = seconds(lambda: encode_png(sheet(digits)))  # noqa: B023
        print(f"{n:8d} | {1e6 * pillow:6.0f} | {1e6 * fast:6.0f}")  # noqa: T201


def by_pillow(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def seconds(work: Callable[[], object]) -> float:
    """Measure this thread's processor time of one call: the best of several rounds."""
    work()
    best = float("inf")
    for _ in range(ROUNDS):
        begun, calls = time.thread_time(), 0
        while time.thread_time() - begun < 0.1 or calls < 2:
            work()
            calls += 1
        best = min(best, (time.thread_time() - begun) / calls)
    return best


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
