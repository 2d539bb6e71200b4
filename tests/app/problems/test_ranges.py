import pytest

from app.problems.ranges import Cut, NoSuchRange, wanted


@pytest.mark.parametrize(
    ("asked", "cut"),
    [
        ("bytes=0-99", Cut(0, 100)),
        ("bytes=10-19", Cut(10, 20)),
        ("bytes=90-", Cut(90, 100)),
        ("bytes=99-4000", Cut(99, 100)),
        ("bytes=-1", Cut(99, 100)),
        ("bytes=-4000", Cut(0, 100)),
        (" bytes = 5-5 ", Cut(5, 6)),
    ],
)
def test_a_valid_range_is_parsed(asked: str, cut: Cut) -> None:
    assert wanted(asked, 100) == cut
    assert cut.content_range(100) == f"bytes {cut.start}-{cut.end - 1}/100"


@pytest.mark.parametrize(
    "asked", [None, "", "bytes", "bytes=", "bytes=-", "bytes=5", "bytes=9-5", "bytes=0-1,5-6", "lines=1-2", "bytes=²-3"]
)
def test_an_invalid_or_multiple_range_returns_the_whole(asked: str | None) -> None:
    assert wanted(asked, 100) is None


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_is_not_satisfiable(asked: str) -> None:
    with pytest.raises(NoSuchRange, match="100 bytes"):
        wanted(asked, 100)
