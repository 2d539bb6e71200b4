"""Parquet files of Hugging Face: columns, class names, splits, and limits."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.importing.items import InvalidImages, Item
from models.data.importing.normalise import to_grey
from models.data.importing.opening import open_source
from models.data.importing.row_files import parquet_rows
from tests.models.data.importing.pictures import PNG, items_of, stroke, write_zip

NAMES = ["zero", "one", "two"]
ROWS = [(PNG, 1), (PNG, 0), (PNG, 2)]


def features(names: list[str] | None = None) -> dict[str, Any]:
    label = {"names": names or NAMES, "_type": "ClassLabel"}
    return {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}


def write_parquet(
    path: Path,
    rows: Iterable[tuple[bytes | None, Any]] = ROWS,
    metadata: object = None,
    names: tuple[str, str] = ("image", "label"),
    **options: Any,
) -> Path:
    """Write a file as `datasets` does, with {bytes, path} in the first column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images, labels = zip(*rows, strict=True)
    column = pa.array(
        [{"bytes": data, "path": None} for data in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    table = pa.table({names[0]: column, "number": list(range(len(labels))), names[1]: labels})
    if metadata is not None:
        text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
        table = table.replace_schema_metadata({b"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InvalidImages) as raised:
        items_of(path)
    assert str(raised.value).isprintable()
    return str(raised.value)


def test_a_file_with_class_names(tmp_path: Path) -> None:
    with open_source(write_parquet(tmp_path / "x.parquet", metadata=features())) as source:
        assert (source.count, source.class_names) == (3, ("zero", "one", "two"))
        items = list(source.items())
        assert list(source.items(1)) == items[1:]
    assert items[0] == Item("row 1 of x.parquet", "one", None, PNG)
    assert [item.label for item in items] == ["one", "zero", "two"]
    assert np.array_equal(to_grey(items[0].content), stroke())


def test_a_file_without_metadata(tmp_path: Path) -> None:
    with open_source(write_parquet(tmp_path / "x.parquet", names=("img", "fine_label"))) as source:
        assert source.class_names is None
        assert [item.label for item in source.items()] == ["1", "0", "2"]
    rows = [(PNG, "é"), (PNG, "b")]
    assert [item.label for item in items_of(write_parquet(tmp_path / "y.parquet", rows))] == ["é", "b"]


def test_a_column_of_bytes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [PNG, PNG], "label": [5, 6]}), tmp_path / "x.parquet")
    assert [(item.label, item.content) for item in items_of(tmp_path / "x.parquet")] == [("5", PNG), ("6", PNG)]


@pytest.mark.parametrize(
    "names",
    [
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
        ["mnist/train/0000.parquet", "mnist/train/0001.parquet", "mnist/test/0000.parquet"],
    ],
)
def test_a_folder_of_splits(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write_parquet(tmp_path / "set" / name, metadata=features())
    (tmp_path / "set" / "README.md").write_text("# A data set")
    archive = write_zip(tmp_path / "set.zip", {name: (tmp_path / "set" / name).read_bytes() for name in names})
    for path in (tmp_path / "set", archive):
        with open_source(path) as source:
            items = list(source.items())
            assert source.count == 9
            assert [item.split for item in items] == ["test"] * 3 + ["train"] * 6
            assert [item.name for item in source.items(4)] == [item.name for item in items[4:]]


def test_rows_resume_within_row_groups(tmp_path: Path) -> None:
    rows = [(PNG, number % 3) for number in range(200)]
    with open_source(write_parquet(tmp_path / "x.parquet", rows, features(), row_group_size=30)) as source:
        for start in (0, 29, 30, 31, 100, 199, 200):
            assert [item.name for item in source.items(start)] == [
                f"row {n} of x.parquet" for n in range(start + 1, 201)
            ]


def test_bad_rows_and_metadata(tmp_path: Path) -> None:
    cases: list[tuple[str, Any, Any]] = [
        ("row 2 of x.parquet has the label -1, and labels are from 0 to 2", [(PNG, 0), (PNG, -1)], features()),
        ("has the label 3", [(PNG, 3)], features()),
        ("row 1 of x.parquet has no label", [(PNG, None), (PNG, 1)], features()),
        ("row 2 of x.parquet has no bytes of an image", [(PNG, 1), (None, 1)], features()),
        ("metadata of Hugging Face that are not understood", ROWS, b"{"),
        ("metadata of Hugging Face that are not understood", ROWS, {"info": 3}),
        ("the same class name twice", ROWS, features(["a", "b", "a"])),
        ("cannot be printed", ROWS, features(["a", "b", "\x1b"])),
        ("more than 100 classes", ROWS, features([str(n) for n in range(101)])),
    ]
    for reason, rows, metadata in cases:
        assert reason in refused(write_parquet(tmp_path / "x.parquet", rows, metadata))


def test_files_that_disagree_about_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", metadata=features())
    write_parquet(tmp_path / "test.parquet", metadata=features(["a", "b", "c"]))
    assert "do not name the same classes" in refused(tmp_path)


def test_other_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"], "score": [0.5]}), tmp_path / "x.parquet")
    assert "no column of images and one of labels; its columns are: text, score" in refused(tmp_path / "x.parquet")


def test_a_huge_row_group(tmp_path: Path) -> None:
    """140 MB of zeros, which take little space in the file."""
    rows = [(bytes(10_000_000), 1)] * 14
    path = write_parquet(tmp_path / "x.parquet", rows, compression="gzip", use_dictionary=False)
    assert path.stat().st_size < 1_000_000
    assert "has a row group of 140,0" in refused(path)
    smaller = write_parquet(tmp_path / "y.parquet", rows, compression="gzip", use_dictionary=False, row_group_size=1)
    assert len(items_of(smaller)) == 14


def test_a_damaged_file(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "x.parquet", metadata=features()).read_bytes()
    for length in range(4, len(data), 97):
        (tmp_path / "x.parquet").write_bytes(data[:length])
        assert "damaged or cut off" in refused(tmp_path / "x.parquet")
    reasons = set[str]()
    for at in range(0, len(data), 13):
        (tmp_path / "x.parquet").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            items_of(tmp_path / "x.parquet")
        except InvalidImages as error:
            reasons.add(str(error))
    assert len(reasons) > 1
    assert all(reason.isprintable() for reason in reasons)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "x.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    assert "pip install 'acgan[parquet]'" in refused(path)
    with pytest.raises(InvalidImages, match="pyarrow"):
        parquet_rows.pyarrow()
