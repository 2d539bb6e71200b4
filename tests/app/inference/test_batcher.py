"""Drawing by several threads at once: every caller gets its own digits or error, and the wait is limited."""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from app.inference.batcher import Batcher, BufferTarget, Busy
from app.inference.sample_buffer import FEW, SampleBuffer
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import SampleRange, Samples, draw_series, prepare

Result = TypeVar("Result")


@pytest.fixture(scope="module")
def generator() -> FoldedGenerator:
    return prepare(Generator(10), torch.device("cpu"))


def with_batcher(
    use: Callable[[Batcher], Coroutine[Any, Any, Result]],
    patience: float = 60.0,
    target: Callable[[], BufferTarget | None] = lambda: None,
) -> Result:
    async def run() -> Result:
        batcher = Batcher(2, patience, target)
        try:
            return await use(batcher)
        finally:
            batcher.close()

    return asyncio.run(run())


def test_callers_whose_digits_share_a_batch_get_their_own(generator: FoldedGenerator) -> None:
    other = prepare(Generator(7), torch.device("cpu"))
    chance = random.Random(4)
    orders = [
        (
            chance.choice([generator, other]),
            SampleRange(chance.choice([None, 3, 7]), chance.choice([1, 2, 9, 40]), seed, 5),
        )
        for seed in range(40)
    ]

    async def use(batcher: Batcher) -> list[bytes]:
        return await asyncio.gather(*(batcher.draw(*order, np.ndarray.tobytes) for order in orders))

    for (drawer, series), answer in zip(orders, with_batcher(use), strict=True):
        assert answer == draw_series(drawer, series).tobytes(), series


def test_an_error_reaches_the_caller_that_waits_and_no_other(generator: FoldedGenerator) -> None:
    def fail(_digits: np.ndarray) -> bytes:
        raise ValueError("no file of these")

    class Broken(FoldedGenerator):
        def __call__(self, noise: Tensor, labels: Tensor) -> Tensor:
            raise RuntimeError("no digits of these")

    async def use(batcher: Batcher) -> tuple[bytes | BaseException, ...]:
        return await asyncio.gather(
            batcher.draw(generator, SampleRange(1, 9, 1), fail),
            batcher.draw(Broken(Generator(10), torch.device("cpu")), SampleRange(1, 100, 1), np.ndarray.tobytes),
            batcher.draw(generator, SampleRange(1, 9, 2), np.ndarray.tobytes),
            return_exceptions=True,
        )

    unwritable, broken, good = with_batcher(use)
    assert isinstance(unwritable, ValueError)
    assert isinstance(broken, RuntimeError)
    assert good == draw_series(generator, SampleRange(1, 9, 2)).tobytes()


def test_requests_that_would_wait_too_long_are_refused_and_others_are_answered(generator: FoldedGenerator) -> None:
    async def use(batcher: Batcher) -> list[bytes | BaseException]:
        await batcher.draw(generator, SampleRange(1, 40, 1), np.ndarray.tobytes)  # measures the time per digit
        return await asyncio.gather(
            *(batcher.draw(generator, SampleRange(1, 1000, seed), np.ndarray.tobytes) for seed in range(20)),
            return_exceptions=True,
        )

    answers = with_batcher(use, patience=0.01)
    assert not isinstance(answers[0], Exception)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert 10 < len(refused) < 20
    assert all(isinstance(answer, Busy) for answer in refused)


def test_a_caller_that_leaves_delays_no_other(generator: FoldedGenerator) -> None:
    async def use(batcher: Batcher) -> bytes:
        gone = asyncio.create_task(batcher.draw(generator, SampleRange(1, 1000, 1), np.ndarray.tobytes))
        await asyncio.sleep(0.01)
        gone.cancel()
        return await batcher.draw(generator, SampleRange(1, 9, 2), np.ndarray.tobytes)

    assert with_batcher(use) == draw_series(generator, SampleRange(1, 9, 2)).tobytes()


@pytest.mark.usefixtures("busy_machine_allowed")
def test_the_buffer_is_filled_while_no_request_waits(generator: FoldedGenerator) -> None:
    stock = SampleBuffer(limit=1024)

    async def use(batcher: Batcher) -> None:
        while sum(stock.level(label) for label in range(10)) < 10 * FEW:
            batcher.look()
            await asyncio.sleep(0.05)

    with_batcher(use, target=lambda: BufferTarget(generator, stock))
    for label in range(10):
        taken = stock.take(label, FEW)
        assert taken is not None
        assert np.array_equal(taken.digits, draw_series(generator, taken.series))


def test_filling_the_buffer_pauses_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, noted = list[int](), list[Exception]()

    class Broken(FoldedGenerator):
        def __call__(self, noise: Tensor, labels: Tensor) -> Tensor:
            drawn.append(len(noise))
            raise RuntimeError("no digits of these")

    target = BufferTarget(Broken(Generator(10), torch.device("cpu")), SampleBuffer(limit=1024))
    monkeypatch.setattr("app.inference.batcher.FAILED_SECONDS", math.inf)

    async def use() -> None:
        batcher = Batcher(1, 60, lambda: target, note_error=noted.append)
        with contextlib.closing(batcher):
            while not noted:
                await asyncio.sleep(0.01)
            for _ in range(20):
                batcher.look()
                await asyncio.sleep(0.01)

    asyncio.run(use())
    assert (len(drawn), len(noted)) == (1, 1)


def test_a_request_that_finds_the_buffer_empty_still_gets_its_digits(generator: FoldedGenerator) -> None:
    target = BufferTarget(generator, SampleBuffer(limit=1024))

    def show(samples: Samples) -> bytes:
        return samples.digits.tobytes()

    async def use(batcher: Batcher) -> list[tuple[SampleRange, bytes]]:
        asked = [(label % 10, 1 + label % 16) for label in range(200)]
        return await asyncio.gather(*(batcher.take_or_wait(target, label, n, show) for label, n in asked))

    answers = with_batcher(use)
    places: set[tuple[int | None, int]] = set()
    for place, (series, answer) in enumerate(answers):
        assert (series.label, series.n) == (place % 10, 1 + place % 16)
        assert answer == draw_series(generator, series).tobytes()
        its_places = {(series.label, series.index + index) for index in range(series.n)}
        assert not its_places & places
        places |= its_places


def test_an_order_that_cannot_be_drawn_gets_an_error_and_delays_no_other(generator: FoldedGenerator) -> None:
    class Broken(FoldedGenerator):
        def __call__(self, noise: Tensor, labels: Tensor) -> Tensor:
            raise RuntimeError("no digits of these")

    def fail(_samples: Samples) -> bytes:
        raise ValueError("no file of these")

    broken = BufferTarget(Broken(Generator(10), torch.device("cpu")), SampleBuffer(limit=1024))
    good = BufferTarget(generator, SampleBuffer(limit=1024))

    async def use(batcher: Batcher) -> tuple[Any, ...]:
        answers = await asyncio.gather(
            batcher.take_or_wait(broken, 3, 1, fail),
            batcher.take_or_wait(good, 3, 1, fail),
            batcher.take_or_wait(good, 3, 2, lambda samples: samples.digits.tobytes()),
            return_exceptions=True,
        )
        assert batcher.pending == 0
        return tuple(answers)

    undrawn, unwritten, (series, digits) = with_batcher(use)
    assert isinstance(undrawn, RuntimeError)
    assert isinstance(unwritten, ValueError)
    assert digits == draw_series(generator, series).tobytes()
