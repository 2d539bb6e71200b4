from collections import deque
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.inference.sample_buffer import FEW, SampleBuffer
from models.sampling.sampler import BATCH, SampleRange


def digits(series: SampleRange) -> np.ndarray:
    """Stand-ins for digits: their first pixels hold their index."""
    made = np.zeros((series.n, 28, 28), np.uint8)
    numbers = np.arange(series.index, series.index + series.n, dtype=np.uint32)
    made[:, 0, :4] = numbers.view(np.uint8).reshape(-1, 4)
    return made


def drawn(plan: list[SampleRange]) -> np.ndarray:
    return np.concatenate([digits(series) for series in plan])


def fill(stock: SampleBuffer) -> int:
    batches = 0
    while plan := stock.plan_ahead():
        assert stock.put(plan, drawn(plan)) == []
        batches += 1
    return batches


def test_a_new_buffer_holds_a_few_digits_of_every_label() -> None:
    stock = SampleBuffer(limit=8192)
    fill(stock)
    assert [stock.level(label) for label in range(10)] == [FEW] * 10


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300), st.booleans()), max_size=40))
def test_every_digit_is_taken_once_and_with_its_address(requests: list[tuple[int, int, bool]]) -> None:
    stock = SampleBuffer(limit=1024)
    fill(stock)
    given_out: set[tuple[int, int, int]] = set()
    for label, n, filled in requests:
        taken = stock.take(label, n)
        if taken is not None:
            series = taken.series
            assert (series.label, series.n) == (label, n)
            assert np.array_equal(taken.digits, digits(series))
            addresses = {(label, series.seed, series.index + place) for place in range(n)}
            assert not addresses & given_out
            given_out |= addresses
        if filled:
            fill(stock)
        assert all(stock.level(label) <= 1024 for label in range(10))


def test_the_target_of_a_label_that_ran_out_grows_up_to_the_limit() -> None:
    stock = SampleBuffer(limit=8 * BATCH)
    fill(stock)
    assert stock.take(3, FEW + 1) is None
    fill(stock)
    assert stock.level(3) == 2 * FEW
    assert stock.take(3, 1000) is None
    fill(stock)
    assert stock.level(3) == 8 * BATCH
    assert stock.level(4) == FEW


def test_the_buffer_of_another_generator_has_another_seed_and_starts_with_half() -> None:
    stock = SampleBuffer(limit=8192)
    for _ in range(4):
        stock.take(3, 8000)
    following = SampleBuffer(8192, stock)
    fill(following)
    assert following.level(3) == stock.buffers[3].wanted // 2 == 8 * FEW
    assert following.level(4) == FEW
    assert following.buffers[3].seed != stock.buffers[3].seed


def test_a_buffer_of_size_zero_is_never_filled_and_takes_no_orders() -> None:
    stock = SampleBuffer(limit=0)
    assert fill(stock) == 0
    assert not stock.may_wait(1)


@given(
    orders=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 16)), min_size=1, max_size=60),
    chance=st.randoms(use_true_random=False),
)
def test_orders_are_met_oldest_first_with_their_own_digits_in_any_order_of_batches(
    orders: list[tuple[int, int]], chance: Random
) -> None:
    stock = SampleBuffer(limit=1024)
    waiting: dict[int, deque[int]] = {label: deque() for label in range(10)}
    planned: list[list[SampleRange]] = []
    given_out: set[tuple[int | None, int, int]] = set()

    def draw_one() -> None:
        plan = planned.pop(chance.randrange(len(planned)))
        assert sum(series.n for series in plan) <= BATCH
        for who, (series, pixels, _) in stock.put(plan, drawn(plan)):
            label, n = orders[who]
            assert waiting[label].popleft() == who
            assert (series.label, series.n) == (label, n)
            assert np.array_equal(pixels, digits(series))
            addresses = {(series.label, series.seed, series.index + place) for place in range(n)}
            assert not addresses & given_out
            given_out.update(addresses)

    for who, (label, n) in enumerate(orders):
        if stock.wait_for(label, n, who) is None:
            waiting[label].append(who)
        if chance.random() < 0.3 and (plan := stock.plan()):
            planned.append(plan)
        if planned and chance.random() < 0.3:
            draw_one()
    while plan := stock.plan():
        planned.append(plan)
    assert not stock.is_short()
    while planned:
        draw_one()
    assert not any(waiting.values())
    assert not any(buffer.waiting for buffer in stock.buffers)


def test_a_batch_first_has_the_digits_that_are_waited_for_and_then_more_of_the_same_label() -> None:
    stock = SampleBuffer(limit=1024)
    stock.wait_for(3, 1, "one")
    assert [(series.label, series.n) for series in stock.plan()] == [(3, 8)]
    stock.wait_for(3, 12, "twelve")
    stock.wait_for(5, 12, "twelve")
    assert [(series.label, series.n, series.index) for series in stock.plan()] == [(3, 32, 8), (5, 32, 0)]


def test_a_failed_draw_is_reported_to_its_caller_and_the_label_continues_with_another_series() -> None:
    stock = SampleBuffer(limit=1024)
    stock.wait_for(3, 1, "one")
    lost = stock.plan()
    stock.wait_for(3, 16, "two")
    late = stock.plan()
    assert stock.give_up(lost) == ["one", "two"]
    assert stock.put(late, drawn(late)) == []
    assert stock.level(3) == 0
    stock.wait_for(3, 1, "three")
    plan = stock.plan()
    ((who, taken),) = stock.put(plan, drawn(plan))
    assert who == "three"
    assert taken.series.seed not in (lost[0].seed, late[0].seed)
