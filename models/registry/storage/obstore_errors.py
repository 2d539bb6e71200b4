"""Conversion of obstore's errors to those of the storage interface.

Their sentences contain nothing that differs between two attempts of the same step, such as seconds or the random part
of a name: a job that waits for the store records its trouble again only if the sentence has changed.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore import exceptions
from obstore.store import from_url

from models.registry.storage.base import Unreachable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

STAGED = re.compile(r"\.\d+\.[0-9a-f]{8}(?=/)")  # token and random part in the name of a staged folder
REQUEST = re.compile(r"(Error performing \w+ \w+://[^/\s]+)\S* in .*? - ")  # object, seconds and number of retries


class Changed(Exception):
    """Another writer has changed the object since it was read."""


def connect(address: str, seconds: float) -> "ObjectStore":
    """Open a bucket. Sends no request. Later requests are retried for at most `seconds` in total, then they fail."""
    return from_url(
        address,
        client_options={
            "timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=min(5.0, seconds)),
            "allow_http": True,
        },
        retry_config={
            "max_retries": 1000,  # limited by retry_timeout only
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
        },
    )


@contextmanager
def asking(trouble: str) -> Iterator[None]:
    """Convert errors of requests inside. Raises FileNotFoundError, Changed, Unreachable, OSError."""
    trouble = STAGED.sub("", trouble)
    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise Changed(trouble) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, f"{trouble}: {_reason(error)}") from error
    except exceptions.GenericError as error:
        raise Unreachable(f"{trouble}: {_reason(error)}") from error
    except (exceptions.BaseError, ValueError) as error:
        raise OSError(f"{trouble}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return REQUEST.sub(r"\1: ", str(error).partition("\n")[0])[:300]
