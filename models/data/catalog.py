"""The training data that a run can name: one row for each. It imports nothing, because the config reads the names."""

from typing import NamedTuple


class IdxFile(NamedTuple):
    sha256: str  # of the plain IDX file
    shape: tuple[int, ...]  # of unsigned bytes


DIGITS = tuple("0123456789")


class TrainingData(NamedTuple):
    """Labelled grey images of 28 x 28 pixels. A label is the index of its class."""

    title: str
    description: str
    files: dict[str, IdxFile]  # images and labels for training, then for tests; if empty, `printed.py` draws them
    classes: tuple[str, ...] = DIGITS
    sizes: tuple[int, int] = (60_000, 10_000)  # numbers of training and test images
    mirrors: tuple[str, ...] = ()  # addresses that each file's name and `.gz` are appended to


DEFAULT = "mnist"

DATASETS = {
    "mnist": TrainingData(
        title="MNIST",
        description="handwritten digits",
        files={
            "train-images-idx3-ubyte": IdxFile(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", (60_000, 28, 28)
            ),
            "train-labels-idx1-ubyte": IdxFile(
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", (60_000,)
            ),
            "t10k-images-idx3-ubyte": IdxFile(
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", (10_000, 28, 28)
            ),
            "t10k-labels-idx1-ubyte": IdxFile(
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", (10_000,)
            ),
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "printed": TrainingData(
        title="printed digits", description="digits drawn from a font, which needs no network", files={}
    ),
}
