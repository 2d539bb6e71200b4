"""Reads responses of an untrusted server: each has a size limit and a deadline, and is checked before use."""

import io
import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from app.client.connecting import Route
from app.client.errors import Misconfigured, NotUnderstood, Unreachable, refused_as
from models.config import IMAGE_SIZE, NUM_CLASSES

if TYPE_CHECKING:  # takes a while to load, and only `pixels` needs it
    import numpy as np

View = TypeVar("View", bound=BaseModel)

RECORD_LIMIT = 64_000_000  # bytes: the record of a thousand epochs has a few millions
LIST_LIMIT = 256_000_000
PROBLEM_LIMIT = 1_000_000
SECONDS = 600.0  # for a complete response
LONGEST_RETRY = 86_400.0
PAUSE_SECONDS = 0.5
LARGEST_INTEGER = 2**63
MOST_DIGITS = 1000
RETRY_AFTER = re.compile(r"[0-9]{1,9}")
NUMBER = re.compile(r"[0-9]{1,16}")
CHECKPOINT = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")
MEDIA_TYPE = re.compile(r"[ -~]{0,100}")
NPY_HEADER = 10_000  # maximum bytes


class Body:
    """The body of a response, at most `limit` bytes. Compression is rejected: few bytes may decompress to many.

    Raises NotUnderstood for compression, and from `take` as soon as the limit is exceeded.
    """

    def __init__(self, response: httpx2.Response, limit: int, seconds: float = SECONDS, *, keeps: bool = True) -> None:
        """If `keeps` is false, `whole` returns an empty body."""
        self.response = response
        self.keeps = keeps
        self.limit = limit if response.status_code < 300 else PROBLEM_LIMIT
        self.name = f"the response of {response.url.host} to {response.url.path}"
        self._pieces: list[bytes] = []
        self._size = 0
        self.seconds = seconds
        self._ends = time.monotonic() + seconds
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise NotUnderstood(f"{self.name} is compressed, which this client did not request")

    def take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self.limit:
            raise NotUnderstood(f"{self.name} is larger than {self.limit:,} bytes")
        if time.monotonic() > self._ends:
            raise Unreachable(f"{self.name} takes too long")
        if self.keeps:
            self._pieces.append(data)

    def whole(self) -> httpx2.Response:
        headers = [(name, value) for name, value in self.response.headers.raw if name.lower() != b"content-encoding"]
        content = b"".join(self._pieces)
        return httpx2.Response(
            self.response.status_code, headers=headers, content=content, request=self.response.request
        )


@contextmanager
def in_a_sentence(route: Route) -> Iterator[None]:
    """Convert errors of httpx2 and pydantic into Unreachable, NotUnderstood and Misconfigured."""
    strange = f"{route.url}{route.by} sent a response that this client does not understand"
    try:
        yield
    except httpx2.ConnectError as error:
        raise route.not_connected(error) from error
    except httpx2.ProxyError as error:
        raise route.refused(error) from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise route.no_address() from error
    except httpx2.TimeoutException as error:
        raise Unreachable(f"{route.url}{route.by} did not respond in time") from error
    except (httpx2.SSEError, httpx2.DecodingError) as error:
        raise NotUnderstood(f"{strange}: {error}") from error
    except httpx2.HTTPError as error:
        raise Unreachable(
            f"the connection to {route.url}{route.by} was lost: {error or type(error).__name__}"
        ) from error
    except ValidationError as error:
        found = error.errors(include_input=False)[0]
        where = ".".join(map(str, found["loc"])) or "the response"
        raise NotUnderstood(f"{strange}: {where}: {found['msg']}") from error
    except UnicodeEncodeError as error:
        raise Misconfigured("an argument is not text in the encoding of this system: see PYTHONUTF8") from error
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"{strange}: {error}") from error


def check(response: httpx2.Response, by: str = "") -> None:
    """Raises a Refused or NotUnderstood for an error status. `by` names the proxy. The body must be read."""
    if response.status_code < 300:
        return
    try:
        problem = json.loads(response.content)
        detail, mistakes = problem["detail"], problem.get("errors") or []
        if not isinstance(detail, str) or not isinstance(mistakes, list):
            raise TypeError
        named = [each for each in mistakes if isinstance(each, dict) and {"field", "message"} <= each.keys()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        where = f"{response.url.scheme}://{response.url.netloc.decode(errors='replace')}{by}"
        raise NotUnderstood(f"{where} answers {response.status_code}, but not like an acgan service") from None
    hint, wait = problem.get("hint"), retry_after(response.headers.get("Retry-After", ""))
    kind = refused_as(response.status_code, problem.get("type"))
    raise kind(response.status_code, detail, named, hint if isinstance(hint, str) else "", wait)


def retry_after(text: str) -> float:
    """Return the seconds of a Retry-After header, at most a day; a short pause if it is anything else."""
    return min(float(text), LONGEST_RETRY) if RETRY_AFTER.fullmatch(text) else PAUSE_SECONDS


# ----------------------------------------------------------------------------
# Records.


def view(model: type[View], response: httpx2.Response) -> View:
    return parse(model, response.content)


def parse(model: type[View], data: bytes | str) -> View:
    """Parse a record. Fields that a newer service adds are ignored.

    Raises ValueError for a record that no acgan service writes: a duplicate name, an integer of more than 63 bits, a
    value that the field does not allow.
    """
    json.loads(data, object_pairs_hook=_unique, parse_int=_bounded)
    return model.model_validate_json(data, extra="ignore")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name appears twice in one record")


def _bounded(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= LARGEST_INTEGER:
        raise ValueError(f"{digits[:20]}... is too large for a number")
    return 0


def text(response: httpx2.Response) -> str:
    """Decode UTF-8. The encoding in the response's headers is ignored."""
    return response.content.decode("utf-8")


def content(response: httpx2.Response) -> bytes:
    return response.content


# ----------------------------------------------------------------------------
# Digits.


@dataclass(frozen=True)
class Drawn:
    """A file of digits, and the address of the first: `checkpoint`, `seed` and `index` always give the same pixels."""

    file: bytes
    media_type: str
    checkpoint: str
    seed: int
    index: int

    @classmethod
    def of(cls, response: httpx2.Response) -> "Drawn":
        headers = response.headers
        checkpoint, seed, index = (headers.get(name, "") for name in ("X-Checkpoint", "X-Seed", "X-Index"))
        media_type = headers.get("Content-Type", "")
        is_known = CHECKPOINT.fullmatch(checkpoint) and NUMBER.fullmatch(seed) and NUMBER.fullmatch(index)
        if not is_known or not MEDIA_TYPE.fullmatch(media_type):
            raise NotUnderstood(f"{response.url} answers, but without digits")
        return cls(response.content, media_type, checkpoint, int(seed), int(index))


def pixels(response: httpx2.Response) -> "np.ndarray":
    """Return digits as uint8 (n, 28, 28), or (n, 10, 28, 28). Raises ValueError for any other array."""
    import numpy as np

    file = io.BytesIO(response.content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("the array has another version of the format")
    shape, in_columns, kind = np.lib.format.read_array_header_1_0(file, max_header_size=NPY_HEADER)
    body = file.read()
    is_sheet = len(shape) == 3 or (len(shape) == 4 and shape[1] == NUM_CLASSES)
    is_known = is_sheet and 0 <= shape[0] <= MOST_DIGITS and shape[-2:] == (IMAGE_SIZE, IMAGE_SIZE)
    if not is_known or in_columns or kind != np.uint8 or len(body) != math.prod(shape):
        raise ValueError(f"expected digits, uint8 (n, 28, 28) or (n, 10, 28, 28), but received {kind} {shape}")
    return np.frombuffer(bytearray(body), np.uint8).reshape(shape)
