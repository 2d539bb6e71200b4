"""Slow test files run first, and the list of them names files that exist."""

from pathlib import Path

import pytest

from tests.support import slow_files


def test_each_listed_file_exists_and_is_listed_once() -> None:
    listed = slow_files.slow_files()
    assert [path for path in listed if not path.is_file()] == []
    assert len(set(listed)) == len(listed)


def test_tests_of_the_listed_files_come_first_and_others_keep_their_order(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def item(file: str, name: str) -> pytest.Item:
        module = pytest.Module.from_parent(request.session, path=Path(file))
        return pytest.Function.from_parent(module, name=name, callobj=lambda: None)

    items = [
        item("/a.py", "a1"),
        item("/slow.py", "s1"),
        item("/b.py", "b"),
        item("/slow.py", "s2"),
        item("/slowest.py", "t"),
    ]
    monkeypatch.setattr(slow_files, "slow_files", lambda: [Path("/slowest.py"), Path("/slow.py")])
    slow_files.pytest_collection_modifyitems(items)
    assert [item.name for item in items] == ["t", "s1", "s2", "a1", "b"]
