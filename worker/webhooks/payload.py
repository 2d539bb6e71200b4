"""The body and the headers of a message."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel

from models.registry.manifest import CheckpointId
from models.version import code_version
from worker.jobs.model import JobKind
from worker.jobs.outbox import Message


class JobEnd(BaseModel):
    """What a message says about a job. Links are paths of the API."""

    id: str
    name: str | None
    kind: str
    status: str
    checkpoint: str | None  # the last one of a run
    dataset: str | None
    links: dict[str, str]

    @classmethod
    def of(cls, message: Message) -> "JobEnd":
        is_dataset = message.kind == JobKind.DATASET
        checkpoint = str(CheckpointId(message.job, message.epoch)) if message.epoch and not is_dataset else None
        links = {"job": link("jobs", message.job)}
        if checkpoint:
            links["checkpoint"] = link("checkpoints", checkpoint)
        if is_dataset:
            links["dataset"] = link("datasets", message.job)
        return cls(
            id=message.job,
            name=message.name,
            kind=message.kind,
            status=message.status,
            checkpoint=checkpoint,
            dataset=message.job if is_dataset else None,
            links=links,
        )


def link(kind: str, name: str) -> str:
    return f"/{kind}/{name}"


class Payload(BaseModel):
    """The body: the same bytes at every attempt."""

    type: str
    timestamp: datetime
    data: JobEnd


def body_of(message: Message) -> bytes:
    ended = datetime.fromtimestamp(message.ended_at, UTC)
    payload = Payload(type=f"job.{message.status}", timestamp=ended, data=JobEnd.of(message))
    return payload.model_dump_json().encode()


def headers_of(message: Message, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return the headers. The time is that of the attempt, because receivers refuse old messages."""
    timestamp = int(message.claimed_at)
    return {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": f"acgan/{code_version()}",
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(secret, message.id, timestamp, body) for secret in secrets),
    }


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of version 1: HMAC-SHA256 of `id.timestamp.body`."""
    signed = hmac.new(secret, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"
