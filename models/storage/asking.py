"""What goes wrong with a request to object storage, in the house's terms."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from models.storage.shelf import Unreachable


class Changed(Exception):
    """Somebody else changed it since it was read."""


@contextmanager
def asking(trouble: str) -> Iterator[None]:
    """Tell what goes wrong in the house's terms. Raises FileNotFoundError, Changed, Unreachable, OSError."""
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
    return str(error).partition("\n")[0][:300]
