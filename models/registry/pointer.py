"""The pointer `latest.json`: which checkpoint is the newest, and how much was published so far. Free of torch.

A pointer that is missing, unreadable or damaged, or that names a checkpoint that does not exist, is a fault. The newest
checkpoint that stands is then used instead, `trouble` says why, and the next publication writes a good pointer. A
pointer that is whole and not understood belongs to another version: `trouble` says so, and no publication replaces it.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from models.bounded_reading import CHECKSUM, FileDamaged, FileInvalid, FileNotUnderstood
from models.registry.manifest import CheckpointId, CheckpointNotFound, Manifest, Order
from models.registry.storage.reading import parse

POINTER = "latest.json"


class Pointer(BaseModel):
    model_config = ConfigDict(frozen=True)

    checkpoint: str | None  # None before the first publication that may be served
    published_at: datetime | None = None
    number: int | None = None  # the store's publication counter; None if an earlier version wrote the pointer
    job_number: int | None = None  # of the checkpoint's job


class Latest(NamedTuple):
    """The newest checkpoint that may be served, the counter, and what is wrong with the pointer."""

    checkpoint: CheckpointId | None = None
    order: Order | None = None
    number: int | None = None  # None: an earlier version wrote the pointer
    trouble: str | None = None
    published_at: datetime | None = None
    foreign: bool = False  # another version wrote the pointer: it is not replaced

    def pointer(self, number: int | None) -> Pointer:
        """The pointer that says the same, with this counter."""
        return Pointer(
            checkpoint=None if self.checkpoint is None else str(self.checkpoint),
            published_at=self.published_at,
            number=number,
            job_number=self.order and self.order.job_number,
        )

    def moved(self, manifest: Manifest, number: int) -> Pointer:
        """The pointer after a publication: it names the manifest's checkpoint if that is newer and may be served."""
        if manifest.refused is not None or (self.order is not None and manifest.order <= self.order):
            return self.pointer(number)
        return self._replace(
            checkpoint=manifest.checkpoint, order=manifest.order, published_at=manifest.created_at
        ).pointer(number)


def newest(manifests: Iterable[Manifest]) -> Latest:
    """Find out from the manifests what the pointer should say."""
    found = list(manifests)
    number = max((max(each.number or 0, each.job_number or 0) for each in found), default=0)
    servable = [each for each in found if each.refused is None]
    if not servable:
        return Latest(number=number)
    last = max(servable, key=lambda each: each.order)
    return Latest(last.checkpoint, last.order, number, published_at=last.created_at)


def interpret(
    data: bytes, stands: Callable[[CheckpointId], bool], manifests: Callable[[], Iterable[Manifest]]
) -> Latest:
    """Say what a pointer means; `manifests` is only called if it is damaged."""
    try:
        pointer = parse(data, Pointer, POINTER)
        checkpoint = None if pointer.checkpoint is None else _parse_id(pointer.checkpoint)
        if checkpoint is not None and not stands(checkpoint):
            raise FileDamaged(f"{POINTER} names {checkpoint}, which does not exist")
    except FileInvalid as error:
        foreign = isinstance(error, FileNotUnderstood) and not _is_damaged(data)
        return newest(manifests())._replace(trouble=str(error), foreign=foreign)
    order = checkpoint and Order(pointer.job_number or 0, *checkpoint)
    return Latest(checkpoint, order, pointer.number, published_at=pointer.published_at)


def _parse_id(text: str) -> CheckpointId:
    try:
        return CheckpointId.parse(text)
    except CheckpointNotFound as error:
        raise FileNotUnderstood(f"{POINTER} names {text[:80]!r}, which is not the id of a checkpoint") from error


def _is_damaged(data: bytes) -> bool:
    """Whether a pointer that is not understood has the form that versions without a checksum wrote: it was changed."""
    fields = json.loads(data)
    texts = (fields.get(name, 0) for name in ("checkpoint", "published_at"))
    return CHECKSUM not in fields and all(text is None or isinstance(text, str) for text in texts)
