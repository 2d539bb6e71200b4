"""A least recently used cache, limited by total weight."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """Drops the least recently used entries when the total weight exceeds `limit`. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.weight = 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: Key, value: Value, weight: int = 1) -> None:
        if key in self._kept:
            self.weight -= self._kept.pop(key)[1]
        if weight > self.limit:
            return
        self._kept[key] = value, weight
        self.weight += weight
        while self.weight > self.limit:
            self.weight -= self._kept.popitem(last=False)[1][1]
