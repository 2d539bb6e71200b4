"""The pointer `latest.json` to the newest checkpoint, with the publication counter. Without torch.

If the pointer is missing, unreadable or damaged, or names a checkpoint that does not exist, the newest existing
checkpoint is used, `trouble` gives the reason, and the next publication writes a correct pointer. If another version
wrote the pointer, `trouble` gives this reason, but no publication replaces it.
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
    """The newest checkpoint that may be served, the counter, and the fault of the pointer, if any."""

    checkpoint: CheckpointId | None = None
    order: Order | None = None
    number: int | None = None  # None: an earlier version wrote the pointer
    trouble: str | None = None
    published_at: datetime | None = None
    foreign: bool = False  # another version wrote the pointer: it is not replaced

    def pointer(self, number: int | None) -> Pointer:
        """Return the pointer to the same checkpoint, with this counter."""
        return Pointer(
            checkpoint=None if self.checkpoint is None else str(self.checkpoint),
            published_at=self.published_at,
            number=number,
            job_number=self.order and self.order.job_number,
        )

    def moved(self, manifest: Manifest, number: int) -> Pointer:
        """Return the pointer after a publication: to the manifest's checkpoint if it is newer and may be served."""
        if manifest.refused is not None or (self.order is not None and manifest.order <= self.order):
            return self.pointer(number)
        return self._replace(
            checkpoint=manifest.checkpoint, order=manifest.order, published_at=manifest.created_at
        ).pointer(number)


def newest(manifests: Iterable[Manifest]) -> Latest:
    """Compute the pointer's content from the manifests."""
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
    """Parse a pointer. `manifests` is called only if the pointer is damaged."""
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
    """Return whether a pointer that is not understood has the old form without a checksum: then it is damaged."""
    fields = json.loads(data)
    texts = (fields.get(name, 0) for name in ("checkpoint", "published_at"))
    return CHECKSUM not in fields and all(text is None or isinstance(text, str) for text in texts)
