import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.stock import FEW, Stock
from models.drawing import BATCH, Series


def digits(series: Series) -> np.ndarray:
    """Stand-ins that show their index."""
    numbers = np.arange(series.index, series.index + series.n)
    return np.broadcast_to(numbers[:, None, None], (series.n, 28, 28)).astype(np.uint32)


def fill(stock: Stock) -> int:
    batches = 0
    while (series := stock.next()) is not None:
        stock.put(series, digits(series))
        batches += 1
    return batches


def test_a_new_stock_holds_a_few_of_every_label() -> None:
    stock = Stock(limit=8192)
    fill(stock)
    assert [stock.level(label) for label in range(10)] == [FEW] * 10


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300), st.booleans()), max_size=40))
def test_every_digit_is_given_out_once_and_under_its_address(requests: list[tuple[int, int, bool]]) -> None:
    stock = Stock(limit=1024)
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


def test_a_shelf_that_was_found_too_empty_becomes_larger_up_to_the_limit() -> None:
    stock = Stock(limit=8 * BATCH)
    fill(stock)
    assert stock.take(3, FEW + 1) is None
    fill(stock)
    assert stock.level(3) == 2 * FEW
    assert stock.take(3, 1000) is None
    fill(stock)
    assert stock.level(3) == 8 * BATCH
    assert stock.level(4) == FEW


def test_another_generators_stock_has_another_seed_and_begins_with_half() -> None:
    stock = Stock(limit=8192)
    for _ in range(4):
        stock.take(3, 8000)
    following = Stock(8192, stock)
    fill(following)
    assert following.level(3) == stock.shelves[3].wanted // 2 == 8 * FEW
    assert following.level(4) == FEW
    assert following.shelves[3].seed != stock.shelves[3].seed


def test_a_stock_of_nothing_is_never_filled() -> None:
    assert fill(Stock(limit=0)) == 0
