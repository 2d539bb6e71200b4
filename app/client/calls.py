"""The requests of the blocking and the asynchronous client, and how to read each response."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx2

from app.client.answers import LIST_LIMIT, RECORD_LIMIT, Drawn, content, pixels, text, view
from app.client.errors import Misconfigured
from app.schemas.checkpoints import CheckpointList, CheckpointView, Serving
from app.schemas.datasets import DatasetList, DatasetView
from app.schemas.health import Readiness
from app.schemas.jobs import JobHistory, JobList, JobView
from models.config import TrainingConfig
from models.synthesis.order import MANIFEST, MANIFEST_LIMIT, DatasetManifest
from models.version import code_version

if TYPE_CHECKING:  # takes a while to load, and only `pixels` needs it
    import numpy as np

Answer = TypeVar("Answer")

DEFAULT_URL = "http://127.0.0.1:8000"
STREAM_SECONDS = 45.0  # without an event; the service sends one every 15, so the connection is dead
TRIES, LONGEST_PAUSE_SECONDS = 3, 10.0


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request, and how to read its response."""

    method: str
    path: str
    read: Callable[[httpx2.Response], Answer]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True  # whether the request is idempotent
    limit: int = RECORD_LIMIT  # bytes of the response

    def options(self) -> dict[str, Any]:
        query = {name: value for name, value in self.query.items() if value is not None}
        return {"params": query, "json": self.body, "headers": dict(self.headers)}


def is_hopeless(error: Exception) -> bool:
    """Return whether a retry cannot help: there is no connection to the service or its proxy."""
    return isinstance(error.__cause__, httpx2.ConnectError | httpx2.ProxyError)


# ----------------------------------------------------------------------------
# The calls.

Policy = Literal["newest", "best", "pinned"]


def headers(key: str | None) -> dict[str, str]:
    """Return the headers of every request. Raises Misconfigured, without showing the key, if it cannot be sent."""
    if key and not (key.isascii() and key.isprintable()):
        raise Misconfigured(
            "the key has line breaks or other characters that a key cannot have: see --key and ACGAN_KEY"
        )
    named = {"User-Agent": f"acgan/{code_version()}", "Accept": "*/*", "Accept-Encoding": "identity"}
    return {**named, "Authorization": f"Bearer {key}"} if key else named


def at(*parts: object) -> str:
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def start(order: TrainingConfig | None, key: str | None, fields: Mapping[str, Any]) -> Call[JobView]:
    """Return the call with an Idempotency-Key, so that sending it again after a lost response starts no second run."""
    body = {**(order.model_dump(mode="json", exclude_unset=True) if order else {}), **fields}
    return Call("POST", "/train", partial(view, JobView), body=body, headers={"Idempotency-Key": key or uuid4().hex})


def jobs(limit: int, status: str | None, before: str | None) -> Call[JobList]:
    query = {"limit": limit, "status": status, "before": before}
    return Call("GET", "/jobs", partial(view, JobList), query, limit=LIST_LIMIT)


def job(job_id: str) -> Call[JobView]:
    return Call("GET", at("jobs", job_id), partial(view, JobView))


def control(job_id: str, what: Literal["cancel", "resume", "retry", "front"]) -> Call[JobView]:
    return Call("POST", at("jobs", job_id, what), partial(view, JobView), repeatable=what != "retry")


def history(job_id: str) -> Call[JobHistory]:
    return Call("GET", at("jobs", job_id, "history.json"), partial(view, JobHistory))


def history_csv(job_id: str) -> Call[str]:
    return Call("GET", at("jobs", job_id, "history.csv"), text)


def samples(job_id: str, epoch: int) -> Call[bytes]:
    return Call("GET", at("jobs", job_id, "epochs", epoch, "samples.png"), content)


def digits(label: int | None, query: Mapping[str, Any]) -> Call[Drawn]:
    return Call("GET", "/digits" if label is None else at("digits", label), Drawn.of, query)


def digit_pixels(label: int | None, query: Mapping[str, Any]) -> "Call[np.ndarray]":
    return Call("GET", "/digits" if label is None else at("digits", label), pixels, {**query, "format": "npy"})


def checkpoints() -> Call[CheckpointList]:
    return Call("GET", "/checkpoints", partial(view, CheckpointList), limit=LIST_LIMIT)


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
    return Call("GET", at("datasets", name, MANIFEST), partial(view, DatasetManifest), limit=MANIFEST_LIMIT)


def numbers(number: str, query: Mapping[str, Any]) -> Call[Drawn]:
    return Call("GET", at("numbers", number), Drawn.of, query)


def morph(first: int, last: int, query: Mapping[str, Any]) -> Call[Drawn]:
    return Call("GET", at("morph", first, last), Drawn.of, query)


def evolution(job_id: str, label: int, query: Mapping[str, Any]) -> Call[bytes]:
    return Call("GET", at("jobs", job_id, "evolution", label), content, query)


def readiness() -> Call[Readiness]:
    return Call("GET", "/readyz", partial(view, Readiness))
