"""Names of training data: `mnist`, a built-in set; `letters`, one that a user brought; `letters@2`, its version 2.

It imports nothing, because the config and the manifests of checkpoints use it.
"""

import re
from typing import NamedTuple

NAME = r"[a-z0-9_-]{1,40}"
VERSION = r"[1-9][0-9]{0,5}"
REFERENCE = rf"^{NAME}(@{VERSION})?$"
A_NAME = "a name of training data: 1 to 40 of a-z, 0-9, `_` and `-`, such as `letters`"


class Reference(NamedTuple):
    """A training data set. Without a version, its newest one; a built-in set has no versions."""

    name: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Raises ValueError if the text is not a name, or a name with a version."""
        if not re.fullmatch(REFERENCE, text):
            raise ValueError(f"{text[:80]!r} is not {A_NAME}")
        name, _, version = text.partition("@")
        return cls(name, int(version) if version else None)

    def means(self, dataset: str) -> bool:
        """Return whether this is the data set with a name and version, or, without a version, any of its versions."""
        return dataset == str(self) or (self.version is None and name_of(dataset) == self.name)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def name_of(dataset: str) -> str:
    """Return the name without the version."""
    return dataset.partition("@")[0]
