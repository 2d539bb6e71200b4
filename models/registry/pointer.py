"""The pointer `latest.json` to the newest checkpoints, with the publication counter. Without torch.

It names the newest checkpoint of all, and the newest of each training data set.

If the pointer is missing, unreadable or damaged, or names a checkpoint that does not exist, the newest existing
checkpoint is used, `trouble` gives the reason, and the next publication writes a correct pointer. If another version
wrote the pointer, `trouble` gives this reason, but no publication replaces it.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from models.bounded_reading import CHECKSUM, FileDamaged, FileInvalid, FileNotUnderstood
from models.registry.manifest import CheckpointId, CheckpointNotFound, Manifest, Order
from models.registry.storage.reading import parse

POINTER = "latest.json"


class DatasetPointer(BaseModel):
    """The newest checkpoint that was trained on one data set and may be served."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    published_at: datetime
    job_number: int | None = None


class Pointer(BaseModel):
    model_config = ConfigDict(frozen=True)

    checkpoint: str | None  # of any data set; None before the first publication that may be served
    published_at: datetime | None = None
    number: int | None = None  # the store's publication counter; None if an earlier version wrote the pointer
    job_number: int | None = None  # of the checkpoint's job
    datasets: dict[str, DatasetPointer] | None = None  # by name; None if an earlier version wrote the pointer


class Newest(NamedTuple):
    """The newest checkpoint of one data set that may be served."""

    checkpoint: CheckpointId
    order: Order
    published_at: datetime

    @classmethod
    def of(cls, manifest: Manifest) -> "Newest":
        return cls(manifest.checkpoint, manifest.order, manifest.created_at)

    def pointer(self) -> DatasetPointer:
        return DatasetPointer(
            checkpoint=str(self.checkpoint), published_at=self.published_at, job_number=self.order.job_number
        )


class Revision(NamedTuple):
    """What a selection among the checkpoints of one data set depends on.

    The number changes with every publication. The newest checkpoint also changes if it is deleted.
    """

    number: int | None
    newest: Newest | None


class Latest(NamedTuple):
    """The newest checkpoints that may be served, the counter, and the fault of the pointer, if any."""

    checkpoint: CheckpointId | None = None
    order: Order | None = None
    number: int | None = None  # None: an earlier version wrote the pointer
    trouble: str | None = None
    published_at: datetime | None = None
    foreign: bool = False  # another version wrote the pointer: it is not replaced
    datasets: Mapping[str, Newest] = {}  # by name

    def revision_of(self, dataset: str) -> Revision:
        """Return what a selection among the checkpoints of a data set depends on.

        A run that was claimed earlier than another, or was resumed, publishes without moving the newest checkpoint.
        """
        return Revision(self.number, self.datasets.get(dataset))

    def pointer(self, number: int | None) -> Pointer:
        """Return the pointer to the same checkpoints, with this counter."""
        return Pointer(
            checkpoint=None if self.checkpoint is None else str(self.checkpoint),
            published_at=self.published_at,
            number=number,
            job_number=self.order and self.order.job_number,
            datasets={name: each.pointer() for name, each in sorted(self.datasets.items())},
        )

    def moved(self, manifest: Manifest, number: int) -> Pointer:
        """Return the pointer after a publication: to the manifest's checkpoint if it is newer and may be served."""
        if manifest.refused is not None:
            return self.pointer(number)
        name, moved = manifest.dataset_name, self
        known = self.datasets.get(name)
        if known is None or manifest.order > known.order:
            moved = moved._replace(datasets={**self.datasets, name: Newest.of(manifest)})
        if self.order is None or manifest.order > self.order:
            moved = moved._replace(
                checkpoint=manifest.checkpoint, order=manifest.order, published_at=manifest.created_at
            )
        return moved.pointer(number)


def newest(manifests: Iterable[Manifest]) -> Latest:
    """Compute the pointer's content from the manifests."""
    found = list(manifests)
    number = max((max(each.number or 0, each.job_number or 0) for each in found), default=0)
    servable = sorted((each for each in found if each.refused is None), key=lambda each: each.order)
    if not servable:
        return Latest(number=number)
    last, datasets = servable[-1], {each.dataset_name: Newest.of(each) for each in servable}
    return Latest(last.checkpoint, last.order, number, published_at=last.created_at, datasets=datasets)


def interpret(
    data: bytes,
    stands: Callable[[CheckpointId], bool],
    manifests: Callable[[], Iterable[Manifest]],
    newest_of_each: Callable[[], Mapping[str, Newest]],
) -> Latest:
    """Parse a pointer. `manifests` is called only if it is damaged, `newest_of_each` if an earlier version wrote it."""
    try:
        pointer = parse(data, Pointer, POINTER)
        checkpoint = None if pointer.checkpoint is None else _parse_id(pointer.checkpoint)
        datasets = {name: _newest(each) for name, each in (pointer.datasets or {}).items()}
        for named in {checkpoint, *(each.checkpoint for each in datasets.values())}:
            if named is not None and not stands(named):
                raise FileDamaged(f"{POINTER} names {named}, which does not exist")
    except FileInvalid as error:
        foreign = isinstance(error, FileNotUnderstood) and not _is_damaged(data)
        found = newest(manifests())
        number = max(found.number or 0, number_of(data))  # deleted checkpoints keep their numbers
        return found._replace(trouble=str(error), foreign=foreign, number=number)
    if pointer.datasets is None:
        datasets = dict(newest_of_each())
    order = checkpoint and Order(pointer.job_number or 0, *checkpoint)
    return Latest(checkpoint, order, pointer.number, published_at=pointer.published_at, datasets=datasets)


def number_of(data: bytes) -> int:
    """Return the publication counter of a pointer; 0 if it cannot be read."""
    try:
        return parse(data, Pointer, POINTER).number or 0
    except FileInvalid:
        return 0


def _newest(pointer: DatasetPointer) -> Newest:
    checkpoint = _parse_id(pointer.checkpoint)
    return Newest(checkpoint, Order(pointer.job_number or 0, *checkpoint), pointer.published_at)


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
