from hypothesis import given
from hypothesis import strategies as st

from app.inference.memory import Memory


def test_the_entry_used_longest_ago_is_evicted_first() -> None:
    memory = Memory[str, int](limit=3)
    for name in "abc":
        memory.keep(name, ord(name))
    assert memory.get("a") == ord("a")
    memory.keep("d", 0)
    assert [memory.get(name) for name in "abcd"] == [ord("a"), None, ord("c"), 0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 12))))
def test_the_total_weight_never_exceeds_the_limit(kept: list[tuple[int, int]]) -> None:
    memory = Memory[int, int](limit=20)
    for key, weight in kept:
        memory.keep(key, weight, weight)
        assert memory.get(key) == weight
        found = [value for other in range(6) if (value := memory.get(other)) is not None]
        assert memory.weight == sum(found) <= 20


def test_an_entry_heavier_than_the_limit_is_not_kept() -> None:
    memory = Memory[str, str](limit=10)
    memory.keep("small", "a", 4)
    memory.keep("large", "b", 11)
    assert memory.get("large") is None
    assert memory.get("small") == "a"
