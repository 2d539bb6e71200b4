"""What the store keeps of a job and of itself: whose folder this is, and which store. Free of torch.

store.json          the store's identity, made once
<job>/job.json      the fingerprint of the job, and its number: the order in which jobs were first claimed
"""

import hashlib
import json
import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from models.config import TrainingConfig

IDENTITY = "store.json"
ENTRY = "job.json"
LABELS = {"name", "notes", "tags"}  # change nothing of what a job computes
SETTLED_LATER = {"precision"}  # `auto` becomes what the first worker's processor computes


class Identity(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str = Field(min_length=1)

    @classmethod
    def new(cls) -> "Identity":
        return cls(id=secrets.token_hex(16))


class JobEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    number: int = 0  # 0: the job began under a version that did not count
    fingerprint: str | None = None  # None: made by a publication, as an import is
    dataset_checksum: str | None = None  # None before the first publication

    def completed(self, computes: str | None, checksum: str | None) -> "JobEntry":
        """Fill in what was not known yet."""
        return self.model_copy(
            update={
                "fingerprint": self.fingerprint or computes,
                "dataset_checksum": self.dataset_checksum or checksum,
            }
        )


def fingerprint(config: TrainingConfig, order: BaseModel | None = None) -> str:
    """Return SHA-256 of everything that decides the job's result but its training data.

    `order` is the order of a generated data set. Fields that have their defaults are left out, so that a later version
    with more fields computes the same.
    """
    fields: dict[str, Any] = config.model_dump(
        mode="json", exclude=LABELS | SETTLED_LATER, exclude_defaults=True, warnings=False
    )
    content = {"config": fields, "order": order and order.model_dump(mode="json", exclude_defaults=True)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
