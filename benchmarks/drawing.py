"""Digits a second, drawn and encoded, on this machine: python -m benchmarks.drawing"""

import time

import torch

from models.drawing import draw_digits, prepare
from models.images import encode_png, sheet
from models.networks import Generator


def main() -> None:
    generator = prepare(Generator(), torch.device("cpu"))
    for n in (1, 40, 1000):
        rounds, started = 0, time.perf_counter()
        while time.perf_counter() - started < 3:
            encode_png(sheet(draw_digits(generator, 7, n, seed=rounds)))
            rounds += 1
        each = (time.perf_counter() - started) / rounds
        print(f"n={n}: {1e3 * each:.1f} ms, {n / each:.0f} digits/s")  # noqa: T201


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
