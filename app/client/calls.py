"""What the service can be asked, whoever asks and however: each request, how to read its answer, what may go wrong."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx2
from pydantic import BaseModel, ValidationError

from app.schemas import CheckpointList, CheckpointView, JobHistory, JobList, JobView, Readiness, Serving
from app.wire.ordering import DatasetList, DatasetView
from models.config import TrainingConfig
from models.datasets import MANIFEST, DatasetManifest
from models.version import code_version

if TYPE_CHECKING:  # takes a while to load, and only `pixels` needs it
    import numpy as np

Answer = TypeVar("Answer")
View = TypeVar("View", bound=BaseModel)

DEFAULT_URL = "http://127.0.0.1:8000"
STREAM_SECONDS = 45.0  # the service says something every 15, so that after these a connection is dead
LONGEST_EVENT = 64_000_000  # bytes: the record of a thousand epochs is some millions
TRIES, PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 3, 0.5, 10.0
LATER = (429, 503)  # the statuses that say when to come again


class ClientError(Exception):
    """What is said in a sentence of anything that went wrong between here and the service."""


class Unreachable(ClientError):
    """No answer came."""


class NotUnderstood(ClientError):
    """What answered is no service of ours, or one that is newer than this client."""


class Refused(ClientError):
    """The service refuses: the message is its own sentence, `status` its code, `mistakes` says each by itself."""

    def __init__(self, status: int, detail: str, mistakes: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status = status
        self.mistakes = mistakes


class Unavailable(Refused):
    """The service cannot just now, or not so often: come again after `retry_after` seconds."""

    def __init__(self, status: int, detail: str, mistakes: list[dict[str, Any]], retry_after: float) -> None:
        super().__init__(status, detail, mistakes)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request, and how to read what is answered."""

    method: str
    path: str
    read: Callable[[httpx2.Response], Answer]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True  # whether asking twice is asking once

    def options(self) -> dict[str, Any]:
        query = {name: value for name, value in self.query.items() if value is not None}
        return {"params": query, "json": self.body, "headers": dict(self.headers)}


# ----------------------------------------------------------------------------
# Reading answers.


@contextmanager
def in_a_sentence(url: str) -> Iterator[None]:
    """Raises Unreachable and NotUnderstood instead of what httpx2 and pydantic raise."""
    try:
        yield
    except httpx2.ConnectError as error:
        raise Unreachable(f"nothing answers at {url}: start a service with `acgan up`, or name yours") from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise NotUnderstood(f"{url} is no address of a service: it should look like http://127.0.0.1:8000") from error
    except httpx2.TimeoutException as error:
        raise Unreachable(f"{url} did not answer in time") from error
    except httpx2.HTTPError as error:
        raise Unreachable(f"the connection to {url} was lost: {error or type(error).__name__}") from error
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "the answer"
        raise NotUnderstood(f"{url} answers what this client does not understand: {where}: {found['msg']}") from error
    except ValueError as error:
        raise NotUnderstood(f"{url} answers what this client does not understand: {error}") from error


def check(response: httpx2.Response) -> None:
    """Raises Refused, Unavailable, NotUnderstood. The response must have been read."""
    if response.status_code < 300:
        return
    try:
        problem = response.json()
        detail, mistakes = str(problem["detail"]), list(problem.get("errors") or [])
    except (ValueError, KeyError, TypeError, AttributeError):
        where = f"{response.url.scheme}://{response.url.netloc.decode()}"
        raise NotUnderstood(f"{where} answers {response.status_code}, and not as an acgan service does") from None
    if response.status_code in LATER:
        after = response.headers.get("Retry-After", "")
        seconds = float(after) if after.isdigit() else PAUSE_SECONDS
        raise Unavailable(response.status_code, detail, mistakes, seconds)
    raise Refused(response.status_code, detail, mistakes)


def view(model: type[View], response: httpx2.Response) -> View:
    """A service that is newer may tell more than this client knows."""
    return model.model_validate_json(response.content, extra="ignore")


def content(response: httpx2.Response) -> bytes:
    return response.content


@dataclass(frozen=True)
class Drawn:
    """A file of digits, and the address of the first: asking for it again gives the same pixels."""

    file: bytes
    media_type: str
    checkpoint: str
    seed: int
    index: int

    @classmethod
    def of(cls, response: httpx2.Response) -> "Drawn":
        told = response.headers
        try:
            checkpoint, seed, index = told["X-Checkpoint"], int(told["X-Seed"]), int(told["X-Index"])
        except (KeyError, ValueError):
            raise NotUnderstood(f"{response.url} answers, but not with digits") from None
        return cls(response.content, told.get("Content-Type", ""), checkpoint, seed, index)


def pixels(response: httpx2.Response) -> "np.ndarray":
    """Read digits as uint8 (n, 28, 28)."""
    import numpy as np

    digits: np.ndarray = np.load(io.BytesIO(response.content), allow_pickle=False)
    return digits


# ----------------------------------------------------------------------------
# The calls.

Policy = Literal["newest", "best", "pinned"]


def headers(key: str | None) -> dict[str, str]:
    named = {"User-Agent": f"acgan/{code_version()}", "Accept": "*/*"}
    return {**named, "Authorization": f"Bearer {key}"} if key else named


def at(*parts: object) -> str:
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def start(order: TrainingConfig | None, key: str | None, fields: Mapping[str, Any]) -> Call[JobView]:
    """Named by a key of its own, so that sending it again after a lost answer starts no second run."""
    body = {**(order.model_dump(mode="json", exclude_unset=True) if order else {}), **fields}
    return Call("POST", "/train", partial(view, JobView), body=body, headers={"Idempotency-Key": key or uuid4().hex})


def jobs(limit: int, status: str | None, before: str | None) -> Call[JobList]:
    return Call("GET", "/jobs", partial(view, JobList), {"limit": limit, "status": status, "before": before})


def job(job_id: str) -> Call[JobView]:
    return Call("GET", at("jobs", job_id), partial(view, JobView))


def control(job_id: str, what: Literal["cancel", "resume", "retry", "front"]) -> Call[JobView]:
    return Call("POST", at("jobs", job_id, what), partial(view, JobView), repeatable=what != "retry")


def history(job_id: str) -> Call[JobHistory]:
    return Call("GET", at("jobs", job_id, "history.json"), partial(view, JobHistory))


def history_csv(job_id: str) -> Call[str]:
    return Call("GET", at("jobs", job_id, "history.csv"), lambda response: response.text)


def samples(job_id: str, epoch: int) -> Call[bytes]:
    return Call("GET", at("jobs", job_id, "epochs", epoch, "samples.png"), content)


def digits(label: int | None, query: Mapping[str, Any]) -> Call[Drawn]:
    return Call("GET", "/digits" if label is None else at("digits", label), Drawn.of, query)


def digit_pixels(label: int | None, query: Mapping[str, Any]) -> "Call[np.ndarray]":
    return Call("GET", "/digits" if label is None else at("digits", label), pixels, {**query, "format": "npy"})


def checkpoints() -> Call[CheckpointList]:
    return Call("GET", "/checkpoints", partial(view, CheckpointList))


def checkpoint(name: str) -> Call[CheckpointView]:
    return Call("GET", at("checkpoints", name), partial(view, CheckpointView))


def serving() -> Call[Serving]:
    return Call("GET", "/serving", partial(view, Serving))


def serve(policy: str, name: str | None) -> Call[Serving]:
    body = {"policy": policy, **({"checkpoint": name} if name else {})}
    return Call("PUT", "/serving", partial(view, Serving), body=body)


def order(wanted: Mapping[str, Any], key: str | None) -> Call[DatasetView]:
    return Call(
        "POST", "/datasets", partial(view, DatasetView), body=wanted, headers={"Idempotency-Key": key or uuid4().hex}
    )


def datasets(limit: int, before: str | None) -> Call[DatasetList]:
    return Call("GET", "/datasets", partial(view, DatasetList), {"limit": limit, "before": before})


def dataset(name: str) -> Call[DatasetView]:
    return Call("GET", at("datasets", name), partial(view, DatasetView))


def manifest(name: str) -> Call[DatasetManifest]:
    return Call("GET", at("datasets", name, MANIFEST), partial(view, DatasetManifest))


def numbers(number: str, query: Mapping[str, Any]) -> Call[Drawn]:
    return Call("GET", at("numbers", number), Drawn.of, query)


def morph(first: int, last: int, query: Mapping[str, Any]) -> Call[Drawn]:
    return Call("GET", at("morph", first, last), Drawn.of, query)


def evolution(job_id: str, label: int, query: Mapping[str, Any]) -> Call[bytes]:
    return Call("GET", at("jobs", job_id, "evolution", label), content, query)


def readiness() -> Call[Readiness]:
    return Call("GET", "/readyz", partial(view, Readiness))
