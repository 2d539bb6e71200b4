"""The ledger of each job in object storage: its fence, and the prefix of the objects of each folder."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from models.registry.storage.base import StoredFile
from models.registry.storage.reading import HIGHEST_TOKEN

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode

LEDGERS = "ledgers"


class Ledger(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")  # a newer version may have added fields

    revision: int = 0  # makes the bytes, and so the ETag, of every version different
    token: int = Field(0, ge=0, le=HIGHEST_TOKEN)
    folders: dict[str, str] = {}  # name -> prefix of its objects


class Seen(NamedTuple):
    ledger: Ledger
    mode: "PutMode"


class Known(NamedTuple):
    """The last version of a ledger that was read."""

    tag: str | None  # ETag
    ledger: Ledger
    at: float


def stored_file(meta: "ObjectMeta", places: Mapping[tuple[str, str], str]) -> StoredFile:
    """Describe an object. `places` maps (job, prefix of a folder's objects) to the folder's name."""
    path = str(meta["path"])
    age = time.time() - meta["last_modified"].timestamp()
    parts = path.split("/")
    if len(parts) < 3:
        return StoredFile(path, meta["size"], age)
    folder = places.get((parts[0], parts[1]))
    name = path if folder is None else "/".join([parts[0], folder, *parts[2:]])
    return StoredFile(name, meta["size"], age, placed=folder is not None)
