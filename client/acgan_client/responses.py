"""Reads responses of an untrusted server: each has a size limit and a deadline, and is checked before use."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from acgan_client.connection import Route
from acgan_client.errors import Misconfigured, NotUnderstood, Unavailable, Unreachable
from acgan_client.problems import class_of

Parsed = TypeVar("Parsed", bound=BaseModel)

LARGEST_INTEGER = 2**63
RECORD_LIMIT = 64_000_000  # bytes: the record of a thousand epochs has a few millions
LIST_LIMIT = 256_000_000
PROBLEM_LIMIT = 1_000_000
SECONDS = 600.0  # for a complete response
LONGEST_RETRY = 86_400.0
PAUSE_SECONDS = 0.5
BY_PROXIES = (502, 503, 504)  # while the service behind them restarts
RETRY_AFTER = re.compile(r"[0-9]{1,9}")
CODE = re.compile(r"[a-z][a-z0-9-]{0,59}")


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
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the response"
        raise NotUnderstood(f"{strange}: {where}: {first['msg']}") from error
    except UnicodeEncodeError as error:
        raise Misconfigured("an argument is not text in the encoding of this system: see PYTHONUTF8") from error
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"{strange}: {error}") from error


def check(response: httpx2.Response, by: str = "") -> None:
    """Raises a Refused for a problem, NotUnderstood for another error. `by` names the proxy. The body must be read."""
    status = response.status_code
    if status < 300:
        return
    try:
        problem = json.loads(response.content)
        detail, mistakes = problem["detail"], problem.get("errors") or []
        if not isinstance(detail, str) or not isinstance(mistakes, list):
            raise TypeError
        named = [each for each in mistakes if isinstance(each, dict) and {"field", "message"} <= each.keys()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        where = f"{response.url.scheme}://{response.url.netloc.decode(errors='replace')}{by}"
        unlike = f"{where} answers {status}, but not like an acgan service"
        if status in BY_PROXIES:
            pause = response.headers.get("Retry-After", "")
            seconds = retry_after(pause) if pause else 0.0
            raise Unavailable(status, f"{unlike}: perhaps it restarts", retry_after=seconds) from None
        raise NotUnderstood(unlike) from None
    code, hint = code_of(problem.get("type")), problem.get("hint")
    seconds = retry_after(response.headers.get("Retry-After", ""))
    raise class_of(status, code)(status, detail, named, hint if isinstance(hint, str) else "", seconds, code)


def code_of(kind: Any) -> str:
    """Return the code in the `type` of a problem, as in `/problems/job-not-found`; empty if it has none."""
    code = kind.rpartition("/problems/")[2] if isinstance(kind, str) else ""
    return code if CODE.fullmatch(code) else ""


def retry_after(text: str) -> float:
    """Return the seconds of a Retry-After header, at most a day; a short pause if it is anything else."""
    return min(float(text), LONGEST_RETRY) if RETRY_AFTER.fullmatch(text) else PAUSE_SECONDS


def text(response: httpx2.Response) -> str:
    """Decode UTF-8. The encoding in the response's headers is ignored."""
    return response.content.decode("utf-8")


def ignored(_response: httpx2.Response) -> None:
    """Read the response to a deletion."""


# ----------------------------------------------------------------------------
# Parsing.


def parse(model: type[Parsed], data: bytes | str) -> Parsed:
    """Parse a record.

    Raises ValueError for a record that no acgan service writes: a duplicate name, an integer of more than 63 bits, a
    value that the field does not allow.
    """
    json.loads(data, object_pairs_hook=_unique, parse_int=_bounded)
    return model.model_validate_json(data)


def parser(model: type[Parsed]) -> Callable[[httpx2.Response], Parsed]:
    return lambda response: parse(model, response.content)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name appears twice in one record")


def _bounded(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= LARGEST_INTEGER:
        raise ValueError(f"{digits[:20]}... is too large for a number")
    return 0
