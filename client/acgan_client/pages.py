"""Lists that are read page by page. Sends no requests."""

from collections.abc import Sequence
from typing import Generic, TypeVar
from urllib.parse import parse_qsl

from acgan_client.errors import NotUnderstood

Entry = TypeVar("Entry")


class Pages(Generic[Entry]):
    """The place in a list that is read page by page: `before` and `at` of the next one."""

    def __init__(self) -> None:
        self.before: str | None = None
        self.at: str | None = None
        self.ended = False
        self._kept: list[Entry] = []

    def take(self, entries: Sequence[Entry], following: str | None) -> list[Entry]:
        """Return the entries that can be used before the next page is requested; `following` is its address.

        The last one comes with the next page, which begins after it: the user may delete each entry. Raises
        NotUnderstood if a page leads to itself.
        """
        found = [*self._kept, *entries]
        if following is None:
            self.ended = True
            return found
        query = dict(parse_qsl(following.partition("?")[2]))
        before = query.get("before")
        if before is None or before == self.before:
            raise NotUnderstood("the service sent a page that leads to itself")
        self.before, self.at, self._kept = before, query.get("at"), found[-1:]
        return found[:-1]
