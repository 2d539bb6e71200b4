"""Layouts of data sets, one row each: the route, its schema and the commands read this table.

Archives contain no time, so the same data set gives the same bytes with the same libraries.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from models.synthesis.layouts import huggingface, keras, mnist, torchvision
from models.synthesis.layouts.source import DatasetSource


class Layout(NamedTuple):
    file: str  # name of the archive
    description: str
    write: Callable[[DatasetSource], Iterator[bytes]]
    libraries: Callable[[], str]  # what the bytes depend on besides the data set and this package


LAYOUTS = {
    "mnist": Layout("mnist.zip", "the gzipped IDX files and the manifest", mnist.write, mnist.libraries),
    "torchvision": Layout(
        "torchvision.zip", "the IDX files, unpacked, in `MNIST/raw`", torchvision.write, torchvision.libraries
    ),
    "keras": Layout("mnist.npz", "one file with the arrays of Keras' `mnist.npz`", keras.write, keras.libraries),
    "huggingface": Layout(
        "huggingface.zip",
        "Parquet files and a `README.md` for Hugging Face `datasets`",
        huggingface.write,
        huggingface.libraries,
    ),
}
