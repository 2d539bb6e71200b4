"""The training data that a run can name: one row for each. It imports nothing, because the config reads the names."""

from typing import NamedTuple


class IdxFile(NamedTuple):
    """An IDX file of unsigned bytes, and what identifies it: at least the set's archive, if both digests are None."""

    sha256: str | None  # of the plain IDX file, if it is known
    shape: tuple[int, ...]
    packed_sha256: str | None = None  # of the gzip file as published, if only this is known


class Archive(NamedTuple):
    """A zip archive from which several data sets come. Its members are the gzipped IDX files, in any folder."""

    name: str  # folder in the cache
    address: str
    sha256: str
    size: int  # bytes


DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
MERGED = (*DIGITS, *LETTERS, *"abdefghnqrt")  # lower case only if it does not look like upper case


class TrainingData(NamedTuple):
    """Labelled grey images of 28 x 28 pixels. A label is the index of its class."""

    title: str
    description: str
    files: dict[str, IdxFile]  # images and labels for training, then for tests; if empty, `printed.py` draws them
    classes: tuple[str, ...] = DIGITS
    sizes: tuple[int, int] = (60_000, 10_000)  # numbers of training and test images
    mirrors: tuple[str, ...] = ()  # addresses that each file's name and `.gz` are appended to
    archive: Archive | None = None
    transposed: bool = False  # whether rows and columns of the images in the files are exchanged
    first_label: int = 0  # in the files


# For MNIST, the digests of the plain files are known. For the other sets, only SHA-256 of the files as published is
# known, from tensorflow/datasets: tensorflow_datasets/url_checksums/{fashion_mnist,kmnist,emnist}.txt.

EMNIST = Archive(
    "emnist",
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    561_753_746,
)


def _as_mnist(*packed_sha256: str) -> dict[str, IdxFile]:
    """Return the rows of four files with the names and shapes of MNIST's, from the digests of the gzip files."""
    train_images, train_labels, test_images, test_labels = packed_sha256
    return {
        "train-images-idx3-ubyte": IdxFile(None, (60_000, 28, 28), train_images),
        "train-labels-idx1-ubyte": IdxFile(None, (60_000,), train_labels),
        "t10k-images-idx3-ubyte": IdxFile(None, (10_000, 28, 28), test_images),
        "t10k-labels-idx1-ubyte": IdxFile(None, (10_000,), test_labels),
    }


def _of_emnist(split: str, train: int, test: int) -> dict[str, IdxFile]:
    return {
        f"emnist-{split}-train-images-idx3-ubyte": IdxFile(None, (train, 28, 28)),
        f"emnist-{split}-train-labels-idx1-ubyte": IdxFile(None, (train,)),
        f"emnist-{split}-test-images-idx3-ubyte": IdxFile(None, (test, 28, 28)),
        f"emnist-{split}-test-labels-idx1-ubyte": IdxFile(None, (test,)),
    }


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
    "printed_letters": TrainingData(
        title="printed letters",
        description="capital letters drawn from a font, which needs no network",
        files={},
        classes=LETTERS,
    ),
    "fashion_mnist": TrainingData(
        title="Fashion-MNIST",
        description="pictures of clothes, in ten classes",
        files=_as_mnist(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        classes=CLOTHES,
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
    "kmnist": TrainingData(
        title="Kuzushiji-MNIST",
        description="handwritten hiragana of old Japanese books, in ten classes",
        files=_as_mnist(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        classes=HIRAGANA,
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    ),
    "emnist_letters": TrainingData(
        title="EMNIST letters",
        description="handwritten letters, upper and lower case in one class",
        files=_of_emnist("letters", 124_800, 20_800),
        classes=LETTERS,
        sizes=(124_800, 20_800),
        archive=EMNIST,
        transposed=True,
        first_label=1,
    ),
    "emnist_digits": TrainingData(
        title="EMNIST digits",
        description="more handwritten digits",
        files=_of_emnist("digits", 240_000, 40_000),
        sizes=(240_000, 40_000),
        archive=EMNIST,
        transposed=True,
    ),
    "emnist_balanced": TrainingData(
        title="EMNIST balanced",
        description="handwritten digits and letters, in 47 classes of equal size",
        files=_of_emnist("balanced", 112_800, 18_800),
        classes=MERGED,
        sizes=(112_800, 18_800),
        archive=EMNIST,
        transposed=True,
    ),
}
