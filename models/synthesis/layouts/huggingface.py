"""A folder that `datasets.load_dataset(folder)` of Hugging Face reads: a Parquet file per split, and a README.md.

The images are PNG in a struct of `bytes` and `path`, as `datasets.Image` expects. The features are in the metadata of
README.md and of each Parquet file: huggingface.co/docs/hub/datasets-manual-configuration.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from models.config import IMAGE_SIZE
from models.data.catalog import DIGITS
from models.interop.formats import ExtraMissing
from models.synthesis.layouts.archive import Member, Sink, write_zip
from models.synthesis.layouts.source import DatasetSource
from models.synthesis.order import DatasetManifest, Split

SPLITS = ("train", "test")
BLOCK = 1000  # digits in a row group

README = """\
---
pretty_name: Generated {what}
task_categories:
- image-classification
tags:
- synthetic
configs:
- config_name: default
  data_files:
{files}
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
{classes}
  splits:
{splits}
---

# Generated {what}

{images}, 28 x 28 pixels, white on black. A generative adversarial network drew them.

- Checkpoint: `{order.checkpoint}`, SHA-256 `{manifest.generator_sha256}`
- Seed: {order.seed}
- Least probability of the label by the judge: {verify}
- Created: {manifest.created_at:%Y-%m-%d}, with acgan {manifest.code_version}

Example k of the training split is {one} k // {n} of label k % {n} of the seed. The indices of the test {what} follow.
"""


def write(source: DatasetSource) -> Iterator[bytes]:
    """Yield a zip archive. Raises ExtraMissing at once, and the errors of `DatasetSource.images`."""
    pyarrow()
    return write_zip(members(source))


def libraries() -> str:
    from models.sampling.png import ENCODER

    return f"pyarrow {pyarrow().__version__} {ENCODER}"


def pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        message = "the layout huggingface needs a library that is not installed (pyarrow): pip install 'acgan[parquet]'"
        raise ExtraMissing(message) from None
    return pyarrow


def members(source: DatasetSource) -> Iterator[Member]:
    sizes = dict.fromkeys(SPLITS, 0)
    for split, name in zip(source.manifest.splits, SPLITS, strict=True):

        def count(size: int, name: str = name) -> None:
            sizes[name] += size

        yield Member(f"data/{name}-00000-of-00001.parquet", write_parquet(source, split, count), is_packed=True)
    yield Member("README.md", [read_me(source.manifest, sizes).encode()])  # with sizes that are known only now


def read_me(manifest: DatasetManifest, sizes: dict[str, int]) -> str:
    """Return README.md. `sizes` are the bytes of each split in memory."""
    order, are_digits = manifest.order, tuple(manifest.classes) == DIGITS
    splits = zip(sizes.items(), manifest.splits, strict=True)
    return README.format(
        manifest=manifest,
        order=order,
        n=len(manifest.classes),
        one="digit" if are_digits else "image",
        what="digits" if are_digits else "images",
        images=f"{manifest.examples:,} images" + (" of digits" if are_digits else ""),
        verify="not required" if order.verify is None else order.verify,
        files="\n".join(f"  - split: {name}\n    path: data/{name}-*" for name in SPLITS),
        classes="\n".join(f"          '{label}': {quoted(name)}" for label, name in enumerate(manifest.classes)),
        splits="\n".join(
            f"  - name: {name}\n    num_bytes: {size}\n    num_examples: {split.examples}"
            for (name, size), split in splits
        ),
    )


def quoted(name: str) -> str:
    """Return a string of YAML in single quotes."""
    return "'" + name.replace("'", "''") + "'"


def features(classes: list[str]) -> dict[str, Any]:
    return {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}


def write_parquet(source: DatasetSource, split: Split, count: Callable[[int], None]) -> Iterator[bytes]:
    """Yield a Parquet file with the columns `image` and `label`, one row group of BLOCK digits at a time.

    Calls `count` with the size of each group in memory, in bytes.
    """
    arrow = pyarrow()
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    described = {"huggingface": json.dumps({"info": {"features": features(source.manifest.classes)}})}
    schema = arrow.schema([("image", image), ("label", arrow.int64())], metadata=described)
    blocks = zip(source.images(split, BLOCK), source.labels(split, BLOCK), strict=True)
    sink = Sink()
    with arrow.parquet.ParquetWriter(sink, schema, compression="none", use_dictionary=["label"]) as writer:
        for pixels, labels in blocks:
            files = arrow.StructArray.from_arrays(
                [arrow.array(encoded(pixels), arrow.binary()), arrow.nulls(len(labels), arrow.string())], fields=image
            )
            table = arrow.Table.from_arrays([files, arrow.array(list(labels), arrow.int64())], schema=schema)
            count(table.nbytes)
            writer.write_table(table, row_group_size=BLOCK)
            yield sink.taken()
    yield sink.taken()


def encoded(pixels: bytes) -> list[bytes]:
    """Return each digit of 784 bytes as a PNG file."""
    import numpy as np

    from models.sampling.png import encode_png

    return [encode_png(digit) for digit in np.frombuffer(pixels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)]
