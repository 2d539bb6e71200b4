"""How alike in style the digits of a row are, and what `GET /numbers` costs: the tables of docs/quality.md.

python -m benchmarks.style [--rows 400] [--sizes 128 256 512 1024]    # the package's generator, without a service
python -m benchmarks.style --picture docs/images/numbers.png             # 31415926 in the styles of ten seeds
python -m benchmarks.style --url http://127.0.0.1:8000 [--requests 300]  # a service that has just been started

A row is the ten digits 0 to 9. Prints Markdown.
"""

import argparse
import http.client
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from benchmarks.load import percentile
from models.config import NUM_CLASSES
from models.devices import processors
from models.evaluation.judge import bundled_judge
from models.evaluation.style import style_ratio
from models.evaluation.style_bank import StyleBank, draw_bank
from models.evaluation.verifier import Verifier
from models.networks.inference import FoldedGenerator
from models.networks.weights import generator_from_bytes
from models.registry import bundled
from models.sampling.number_layout import set_number
from models.sampling.sampler import SampleRange, draw_series, prepare

CPU = torch.device("cpu")
NUMBER = "31415926"


class Judges(NamedTuple):
    """The judge that chooses the digits of a bank, and another one."""

    choosing: Verifier
    reporting: Verifier

    def read(self, rows: np.ndarray) -> list[float]:
        """Return the shares of digits in rows (n, 10, 28, 28) that each judge reads as their label."""
        labels = np.tile(np.arange(NUM_CLASSES), len(rows))
        digits = rows.reshape(-1, *rows.shape[2:])
        return [float((judge.probabilities(digits, labels) > 0.5).mean()) for judge in self]


def load_judges() -> Judges:
    choosing, reporting = bundled_judge("mnist", "choosing"), bundled_judge("mnist", "reporting")
    assert choosing
    assert reporting
    return Judges(Verifier(choosing, CPU), Verifier(reporting, CPU))


def load_generator() -> FoldedGenerator:
    checkpoint = bundled.checkpoint()
    assert checkpoint
    manifest = bundled.STORE.manifest(checkpoint)
    return prepare(generator_from_bytes(bundled.STORE.read(manifest, manifest.draws)), CPU)


def rows_of_latents(generator: FoldedGenerator, rows: int) -> np.ndarray:
    """Draw `GET /digits?n=rows`: uint8 (rows, 10, 28, 28)."""
    digits = draw_series(generator, SampleRange(None, rows, seed=0))
    return digits.reshape(rows, NUM_CLASSES, *digits.shape[1:])


def shuffled(rows: np.ndarray) -> np.ndarray:
    """Shuffle each column."""
    random = np.random.default_rng(0)
    return np.stack([random.permutation(column) for column in rows.swapaxes(0, 1)], 1)


def rows_of_styles(bank: StyleBank, rows: int, labels: Sequence[int] = range(NUM_CLASSES)) -> np.ndarray:
    """Choose the digits of a number for the seeds 0 ... rows - 1: uint8 (rows, n, 28, 28)."""
    return np.stack([bank.choose(list(labels), seed).digits for seed in range(rows)])


def print_row(name: str, ratio: float, *cells: str) -> None:
    sys.stdout.write(f"| {' | '.join((name, f'{ratio:.3f}', *cells))} |\n")
    sys.stdout.flush()


def compare(rows: int, sizes: Sequence[int]) -> None:
    """Print the ratio of each rule, and the share of digits that the judges read."""
    generator, judges = load_generator(), load_judges()
    sys.stdout.write("| rows | ratio | read by the choosing judge | by the reporting judge | bank: digits | MB | s |\n")
    sys.stdout.write(f"|{'---|' * 7}\n")
    of_latents = rows_of_latents(generator, rows)
    for name, digits in (("one latent", of_latents), ("shuffled", shuffled(of_latents))):
        print_row(name, style_ratio(digits), *(f"{share:.2%}" for share in judges.read(digits)), "", "", "")
    for size in sizes:
        begun = time.process_time()
        bank = draw_bank(generator, judges.choosing, size)
        seconds = time.process_time() - begun
        digits = rows_of_styles(bank, rows)
        kept = sum(len(each.indices) for each in bank.classes)
        cost = f"{kept:,} of {size * NUM_CLASSES:,}", f"{bank.nbytes / 1e6:.1f}", f"{seconds:.1f}"
        shares = (f"{share:.2%}" for share in judges.read(digits))
        print_row(f"one style, a bank of {size} a class", style_ratio(digits), *shares, *cost)
        digits = rows_of_styles(bank, rows, [int(digit) for digit in NUMBER])
        print_row(f"the same, the number {NUMBER}", style_ratio(digits), *[""] * 5)


def draw_picture(path: Path) -> None:
    """Write the number in the styles of the seeds 0 to 9, in two columns, black on white."""
    bank, labels = draw_bank(load_generator(), load_judges().choosing), [int(digit) for digit in NUMBER]
    numbers = [set_number(bank.choose(labels, seed).digits, scale=2, padding=2, invert=True) for seed in range(10)]
    height, width = (max(number.shape[axis] for number in numbers) for axis in (0, 1))
    picture = np.full((5 * height, 2 * width), 255, np.uint8)
    for seed, number in enumerate(numbers):
        top, left = seed % 5 * height, seed // 5 * width
        picture[top : top + number.shape[0], left : left + number.shape[1]] = number
    Image.fromarray(picture).save(path, optimize=True)


def ask(connection: http.client.HTTPConnection, path: str) -> float:
    """Return the seconds of a request. Raises RuntimeError if its status is not 200."""
    begun = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status}")
    return time.perf_counter() - begun


def measure(url: str, requests: int) -> None:
    """Print the seconds of the first number, which waits for the bank, and percentiles of numbers with new seeds."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    first = ask(connection, f"/numbers/{NUMBER}?seed=0")
    sys.stdout.write(f"the first number: {first:.2f} s, {processors()} processors\n\n| style | p50 ms | p99 ms |\n")
    sys.stdout.write("|---|---|---|\n")
    times: dict[str, list[float]] = {"hand": [], "latent": []}
    for seed in range(1, requests + 1):
        for style, taken in times.items():
            taken.append(ask(connection, f"/numbers/{NUMBER}?seed={seed}&style={style}"))
    for style, taken in times.items():
        sys.stdout.write(f"| {style} | {1e3 * percentile(taken, 0.5):.1f} | {1e3 * percentile(taken, 0.99):.1f} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--requests", type=int, default=300)
    asked = parser.parse_args()
    if asked.url:
        measure(asked.url, asked.requests)
        return
    torch.set_num_threads(1)
    if asked.picture:
        draw_picture(asked.picture)
    else:
        compare(asked.rows, asked.sizes)


if __name__ == "__main__":
    main()
