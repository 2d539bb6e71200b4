"""Records that identify the store and its jobs. Without torch.

store.json          the store's identity, made once
<job>/job.json      the job's fingerprint, and its number in the order in which jobs were first claimed
"""

import hashlib
import json
import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from models.config import TrainingConfig

IDENTITY = "store.json"
ENTRY = "job.json"
LABELS = {"name", "notes", "tags"}  # do not change what a job computes
SETTLED_LATER = {"precision"}  # the first worker replaces `auto` by what its processor supports


class Identity(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str = Field(min_length=1)

    @classmethod
    def new(cls) -> "Identity":
        return cls(id=secrets.token_hex(16))


class JobEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    number: int = 0  # 0: an earlier version, which did not count, published checkpoints of the job
    fingerprint: str | None = None  # None: created by a publication without a claim, such as an import
    dataset_checksum: str | None = None  # None before the first publication

    def completed(self, computes: str | None, checksum: str | None) -> "JobEntry":
        """Return a copy with missing values filled in."""
        return self.model_copy(
            update={
                "fingerprint": self.fingerprint or computes,
                "dataset_checksum": self.dataset_checksum or checksum,
            }
        )


def fingerprint(config: TrainingConfig, order: BaseModel | None = None) -> str:
    """Return SHA-256 of all that determines the job's result, except its training data.

    `order` is the order of a generated data set. Fields with default values are omitted, so that a later version with
    more fields computes the same fingerprint.
    """
    fields: dict[str, Any] = config.model_dump(
        mode="json", exclude=LABELS | SETTLED_LATER, exclude_defaults=True, warnings=False
    )
    content = {"config": fields, "order": order and order.model_dump(mode="json", exclude_defaults=True)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
