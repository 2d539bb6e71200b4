"""The result of an import: images, labels and what is known of them. Without torch."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # commands that only ask a service do not load it
    import numpy as np

OptionValues = dict[str, str | int | float | None]


class Arrays(NamedTuple):
    """Images are uint8 (N, 28, 28), 0 (background) to 255 (ink); labels are uint8 (N,), indices of the classes."""

    train_images: "np.ndarray"
    train_labels: "np.ndarray"
    test_images: "np.ndarray"
    test_labels: "np.ndarray"


class Built(NamedTuple):
    """Training data that was built from a source and is not stored yet."""

    arrays: Arrays
    classes: tuple[str, ...]
    source: str  # what the images were read from, printable
    options: OptionValues  # how they were fitted and split
    warnings: tuple[str, ...]  # sentences
    skipped: int  # number of pictures that could not be read
    chunks: Path  # the decoded images: delete them with `remove_chunks` when the training data are stored

    @property
    def checksum(self) -> str:
        """SHA-256 of all images and labels, as `Dataset.checksum`."""
        import numpy as np

        digest = hashlib.sha256()
        for array in self.arrays:
            digest.update(np.ascontiguousarray(array).data)
        return f"sha256:{digest.hexdigest()}"

    def counts(self, labels: "np.ndarray") -> list[int]:
        """Return the number of images of each class among these labels."""
        import numpy as np

        return [int(count) for count in np.bincount(labels, minlength=len(self.classes))]
