"""Requests as values: the method, the path, and how to read the response. Both forms of the client send them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx2
from pydantic import BaseModel

from acgan_client.errors import Misconfigured, printable
from acgan_client.records import Dataset, Job, UnreadableJob
from acgan_client.records.checkpoints import Checkpoint, ImportedCheckpoint, UnusableCheckpoint
from acgan_client.records.evaluations import Evaluation
from acgan_client.responses import RECORD_LIMIT, parser
from acgan_client.version import __version__

Answer = TypeVar("Answer")
Parsed = TypeVar("Parsed", bound=BaseModel)

JobRef = str | Job | UnreadableJob | Dataset | Evaluation  # a job, or its id
CheckpointRef = str | Checkpoint
JobKind = Literal["training", "dataset", "training_data", "evaluation"]
Policy = Literal["newest", "best", "pinned"]
Judged = Literal["epoch", "evaluation"]
RunsOn = Literal["any", "cpu", "gpu"]
Form = Literal["onnx", "keras", "keras3"]  # formats of other programs
Network = Literal["generator", "discriminator"]
WeightsOf = Literal["average", "trained"]

STREAM_SECONDS = 45.0  # without an event; the service sends one every 15, so the connection is dead
TRIES, LONGEST_PAUSE_SECONDS = 3, 10.0
LARGEST_FILE = 1 << 28  # bytes that are sent: the file is read into memory
STEP_SECONDS, UPLOAD_SECONDS = 30.0, 120.0  # to send a piece of a file; for the response to it
FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"  # of a file in a message of the service
SLOWEST = 10_000  # bytes per second

# ----------------------------------------------------------------------------
# Fields and parameters, as in the API. A test compares them with its OpenAPI document.


class Options(TypedDict, total=False):
    """Options of every call. `timeout_seconds` limits the whole call, with its retries; None for no limit."""

    timeout_seconds: float | None


class TrainFields(Options, total=False):
    """The configuration of a run. What is omitted has the default of the service."""

    recipe: Literal["seed", "sharp", "thorough"]
    epochs: int
    batch_size: int
    latent_size: int
    adam_lr: float
    adam_beta_1: float
    seed: int
    dataset: str
    train_examples: int | None
    test_examples: int | None
    precision: Literal["auto", "fp32", "bf16"]
    name: str | None
    priority: int
    runs_on: RunsOn
    webhook: str | None


class JobLabels(Options, total=False):
    """Labels of a job. What is omitted stays as it is."""

    name: str | None
    notes: str
    tags: Sequence[str]
    archived: bool


class JobsQuery(Options, total=False):
    """Which jobs to list besides those of a status, and in which order."""

    kind: JobKind | None
    sort: Literal["newest", "active", "name", "epochs", "frechet"] | None
    search: str | None
    tag: str | None
    archived: bool | None
    at: str | None  # the position of `before`; `next` of a page contains it


class OrderFields(Options, total=False):
    """A data set to generate. What is omitted has the default of the service."""

    per_class: int
    test_per_class: int
    seed: int
    checkpoint: str
    verify: float | None
    priority: int
    runs_on: RunsOn
    webhook: str | None


class EvaluationFields(Options, total=False):
    """A checkpoint to evaluate. What is omitted has the default of the service."""

    checkpoint: str
    effort: Literal["full", "quick"]
    priority: int
    runs_on: RunsOn
    webhook: str | None


class ImportFields(Options, total=False):
    """What is known about a generator besides its weights. What is omitted has the default of the service."""

    name: str | None
    dataset: str
    recipe: Literal["seed", "sharp", "thorough"]


class TrainingDataFields(Options, total=False):
    """How a file becomes training data. What is omitted has the default of the service."""

    file: str  # its name, for messages
    fit: Literal["mnist", "resize"]
    invert: Literal["auto", "yes", "no"]
    test_share: float
    seed: int


class PictureQuery(Options, total=False):
    seed: int | None
    index: int
    scale: int
    padding: int
    invert: bool


class PixelsQuery(Options, total=False):
    n: int
    seed: int | None
    index: int
    checkpoint: str
    verify: float | None


class DigitsQuery(PixelsQuery, total=False):
    format: Literal["png", "zip", "npy"] | None
    columns: int | None
    scale: int
    padding: int
    invert: bool


class NumbersQuery(PictureQuery, total=False):
    checkpoint: str
    style: Literal["hand", "latent"]
    format: Literal["png", "npy"]


class MorphQuery(PictureQuery, total=False):
    checkpoint: str
    to_seed: int | None
    steps: int
    milliseconds: int
    format: Literal["png", "gif", "webp"]


class EvolutionQuery(PictureQuery, total=False):
    epochs: int
    columns: int
    milliseconds: int
    format: Literal["png", "gif", "webp"]


# ----------------------------------------------------------------------------
# Calls.


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request, and how to read its response."""

    method: str
    path: str
    read: Callable[[httpx2.Response], Answer]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    content: bytes | None = None  # a file as the body, in place of `body`
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True  # whether the request is idempotent
    limit: int = RECORD_LIMIT  # bytes of the response
    timeout_seconds: float | None = None

    def options(self, seconds: float | None) -> dict[str, Any]:
        """Return the arguments of httpx2. `seconds` limits each step instead of the client's own timeout."""
        timeout = {} if seconds is None else {"timeout": seconds}
        options = {"params": self.query, "headers": dict(self.headers), **timeout}
        if self.content is None:
            check_json(self.body)
            return {**options, "json": self.body}
        return {"timeout": upload_timeout(len(self.content)), **options}


def check_json(body: Any) -> None:
    """Raises Misconfigured if the body has a value that JSON cannot contain, such as NaN."""
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Misconfigured(f"the request cannot be written as JSON: {error}") from None


def get(
    path: str,
    read: Callable[[httpx2.Response], Answer],
    query: Mapping[str, Any],
    limit: int = RECORD_LIMIT,
) -> Call[Answer]:
    """Return a GET. `query` may have options; None omits a parameter."""
    given, seconds = without_options(query)
    parameters = {name: value for name, value in given.items() if value is not None}
    return Call("GET", path, read, parameters, limit=limit, timeout_seconds=seconds)


def get_record(path: str, model: type[Parsed], query: Mapping[str, Any], limit: int = RECORD_LIMIT) -> Call[Parsed]:
    return get(path, parser(model), query, limit)


def submit(path: str, model: type[Parsed], fields: Mapping[str, Any], idempotency_key: str | None) -> Call[Parsed]:
    """Return a POST with an Idempotency-Key: if it is sent again after a lost response, it starts no second job."""
    body, seconds = without_options(fields)
    key = {"Idempotency-Key": idempotency_key or uuid4().hex}
    return Call("POST", path, parser(model), body=body, headers=key, timeout_seconds=seconds)


def upload(
    path: str,
    read: Callable[[httpx2.Response], Answer],
    file: bytes | Path | str,
    query: Mapping[str, Any],
    method: str = "POST",
    idempotency_key: str | None = None,
) -> Call[Answer]:
    """Return a request that sends a file: its bytes, or its path. Raises Misconfigured if it cannot be read."""
    asked, content = get(path, read, query), read_file(file)
    named = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))}
    keyed = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return replace(asked, method=method, headers=named | keyed, content=content)


def training_data_file(
    name: str, file: bytes | Path | str, fields: Mapping[str, Any], idempotency_key: str | None
) -> Call[Job]:
    """Return a PUT of a file that is to become training data. A path gives the file its name, if it is a plain one.

    Raises Misconfigured if the file cannot be read.
    """
    given = "" if isinstance(file, bytes) else Path(file).name
    named = {"file": given} if re.fullmatch(FILE_NAME, given) else {}
    key = idempotency_key or uuid4().hex
    return upload(at("training-data", name), parser(Job), file, {**named, **fields}, "PUT", key)


def imported(response: httpx2.Response) -> ImportedCheckpoint:
    """Read the response to an imported file. Raises NotUnderstood."""
    checkpoint = parser(ImportedCheckpoint)(response)
    return checkpoint.model_copy(update={"is_new": response.status_code == 201})


def read_file(file: bytes | Path | str) -> bytes:
    """Return the content of a file to send. Raises Misconfigured."""
    if isinstance(file, bytes):
        return file
    try:
        if not Path(file).is_file():
            raise Misconfigured(f"there is no file {printable(str(file))}")
        if Path(file).stat().st_size > LARGEST_FILE:
            raise Misconfigured(f"{printable(str(file))} is larger than {LARGEST_FILE:,} bytes")
        return Path(file).read_bytes()
    except OSError as error:
        raise Misconfigured(f"{printable(str(file))} cannot be read: {error.strerror}") from error


def upload_timeout(size: int) -> httpx2.Timeout:
    """Return the limits of an upload: the response may take as long as a slow connection needs for the file."""
    return httpx2.Timeout(STEP_SECONDS, read=UPLOAD_SECONDS + size / SLOWEST)


def change(
    method: str,
    path: str,
    read: Callable[[httpx2.Response], Answer],
    options: Mapping[str, Any],
    body: Any = None,
    repeatable: bool = True,
) -> Call[Answer]:
    _, seconds = without_options(options)
    return Call(method, path, read, body=body, repeatable=repeatable, timeout_seconds=seconds)


def split(fields: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """Return the options and the body of a request."""
    body, seconds = without_options(fields)
    return {"timeout_seconds": seconds}, body


def without_options(fields: Mapping[str, Any]) -> tuple[dict[str, Any], float | None]:
    given = dict(fields)
    return given, given.pop("timeout_seconds", None)


def fields_of(config: BaseModel | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a configuration that are set."""
    if config is None:
        return {}
    return config.model_dump(mode="json", exclude_unset=True) if isinstance(config, BaseModel) else dict(config)


def id_of(record: JobRef | CheckpointRef | UnusableCheckpoint) -> str:
    return record if isinstance(record, str) else record.id


DOTS = {".": "%2E", "..": "%2E%2E"}  # unescaped, such parts of a path are removed, `..` with the part before it


def at(*parts: object) -> str:
    return "/" + "/".join(DOTS.get(str(part)) or quote(str(part), safe="") for part in parts)


def digits_path(label: int | None) -> str:
    return "/digits" if label is None else at("digits", label)


def images_path(dataset: str, label: str | int | None) -> str:
    return at("images", dataset) if label is None else at("images", dataset, label)


def headers(key: str | None) -> dict[str, str]:
    """Return the headers of every request. Raises Misconfigured, without showing the key, if it cannot be sent."""
    if key and not (key.isascii() and key.isprintable()):
        raise Misconfigured("the key has line breaks or other characters that a key cannot have: see ACGAN_KEY")
    named = {"User-Agent": f"acgan-client/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    return {**named, "Authorization": f"Bearer {key}"} if key else named
