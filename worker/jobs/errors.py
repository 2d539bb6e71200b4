"""The error that all calls to Redis raise. Other modules catch it instead of the errors of redis-py."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis

from models.errors import Unavailable

Class = TypeVar("Class")


class StoreUnavailable(Unavailable, code="redis-unavailable"):
    """Redis, the store of job records, does not respond or refuses a command. The message may contain its address."""

    def __init__(self, cause: str, refuses: bool = False, is_memory_full: bool = False) -> None:
        super().__init__(cause)
        self.refuses = refuses  # it responds, and refuses the command
        self.is_memory_full = is_memory_full

    @classmethod
    def of(cls, error: redis.RedisError) -> "StoreUnavailable":
        is_memory_full = isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith("OOM")
        return cls(str(error), isinstance(error, redis.ResponseError), is_memory_full)


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise StoreUnavailable for errors of redis-py."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailable.of(error) from error


def raises_store_unavailable(of: type[Class]) -> type[Class]:
    """Let all public methods of a class raise StoreUnavailable for errors of redis-py."""
    for name, method in list(vars(of).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(of, name, translated(method))
    return of


def translated(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, sync or async, with StoreUnavailable instead of errors of redis-py."""
    if not inspect.iscoroutinefunction(call):
        return store_errors()(call)

    @functools.wraps(call)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with store_errors():
            return await call(*args, **kwargs)

    return wrapper
