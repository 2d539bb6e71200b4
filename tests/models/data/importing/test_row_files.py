"""IDX, npz and CSV files: one image a row, alone, in a folder and in an archive."""

import gzip
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from models.data.idx import idx_header
from models.data.importing.items import InvalidImages, Limits
from models.data.importing.opening import open_source
from tests.models.data.importing.pictures import items_of, write_tar, write_tree, write_zip

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (5, 6, 4)).astype(np.uint8)
LABELS = np.array([3, 1, 7, 1, 3], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return idx_header(array.shape) + array.tobytes()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()


def csv(images: np.ndarray, labels: np.ndarray, header: bool = True) -> bytes:
    count = images[0].size
    rows = [",".join(map(str, [label, *image.ravel()])) for label, image in zip(labels, images, strict=True)]
    return "\n".join([",".join(["label", *(f"pixel{n}" for n in range(count))])] * header + rows).encode() + b"\n"


SQUARE = RANDOM.integers(0, 256, (5, 6, 6)).astype(np.uint8)


def check(path: Path, images: np.ndarray = IMAGES, split: str | None = None, labels: Path | None = None) -> None:
    items = items_of(path, labels=labels)
    assert [item.label for item in items] == [str(label) for label in LABELS]
    assert {item.split for item in items} == {split}
    for item, image in zip(items, images, strict=True):
        assert np.array_equal(item.content, image)
        assert isinstance(item.content, np.ndarray)
        assert item.content.dtype == np.uint8


def refused(path: Path, limits: Limits = Limits()) -> str:  # noqa: B008
    with pytest.raises(InvalidImages) as raised:
        items_of(path, limits)
    assert str(raised.value).isprintable()
    return str(raised.value)


PAIR = {"images-idx3-ubyte": idx(IMAGES), "labels-idx1-ubyte": idx(LABELS)}
SETS: dict[str, tuple[Mapping[str, bytes], np.ndarray]] = {
    "idx": (PAIR, IMAGES),
    "idx.gz": ({f"{name}.gz": gzip.compress(data) for name, data in PAIR.items()}, IMAGES),
    "idx both": ({**PAIR, **{f"{name}.gz": gzip.compress(data) for name, data in PAIR.items()}}, IMAGES),
    "idx of any name": ({"x.idx": idx(IMAGES), "y.idx": idx(LABELS)}, IMAGES),
    "idx in a folder": ({f"set/raw/{name}": data for name, data in PAIR.items()}, IMAGES),
    "npz": ({"letters.npz": npz(images=IMAGES, labels=LABELS)}, IMAGES),
    "csv": ({"letters.csv": csv(SQUARE, LABELS), "readme.txt": b"hello"}, SQUARE),
    "csv.gz": ({"letters.csv.gz": gzip.compress(csv(SQUARE, LABELS, header=False))}, SQUARE),
}


@pytest.mark.parametrize("name", SETS)
def test_files_of_rows_in_folders_and_archives(tmp_path: Path, name: str) -> None:
    files, images = SETS[name]
    check(write_tree(tmp_path / "set", files), images)
    check(write_zip(tmp_path / "set.zip", files), images)
    check(write_tar(tmp_path / "set.tar.gz", files, "w:gz"), images)
    if len(files) == 1:
        check(tmp_path / "set" / next(iter(files)), images)


@pytest.mark.parametrize("name", SETS)
def test_items_resume_at_a_number(tmp_path: Path, name: str) -> None:
    with open_source(write_tree(tmp_path, SETS[name][0])) as source:
        items = list(source.items())
        for start in range(6):
            for resumed, item in zip(source.items(start), items[start:], strict=True):
                assert resumed.name == item.name
                assert np.array_equal(resumed.content, item.content)


# ----------------------------------------------------------------------------
# IDX.


def test_idx_files_that_the_user_names(tmp_path: Path) -> None:
    write_tree(tmp_path, {"pictures": idx(IMAGES), "classes.gz": gzip.compress(idx(LABELS)), **PAIR})
    check(tmp_path / "pictures", labels=tmp_path / "classes.gz")
    check(tmp_path / "images-idx3-ubyte")
    assert "its file of labels is needed too" in refused(tmp_path / "pictures")
    with pytest.raises(InvalidImages, match="so it cannot have its labels in another file"):
        open_source(tmp_path, labels=tmp_path / "classes.gz")


def test_train_and_t10k(tmp_path: Path) -> None:
    files = {f"{split}-{name}": data for split in ("t10k", "train") for name, data in PAIR.items()}
    with open_source(write_tree(tmp_path, files)) as source:
        assert source.count == 10
        items = list(source.items())
        assert [item.split for item in items] == ["test"] * 5 + ["train"] * 5
        assert [item.name for item in source.items(8)] == [item.name for item in items[8:]]
    assert items[0].name == "image 1 of t10k-images-idx3-ubyte"


def test_bad_idx_files(tmp_path: Path) -> None:
    cases = {
        "without a file of labels": {"train-images-idx3-ubyte": idx(IMAGES)},
        "without a file of images": {"train-labels-idx1-ubyte": idx(LABELS)},
        "has 5 images, and labels-idx1-ubyte has 4 labels": {**PAIR, "labels-idx1-ubyte": idx(LABELS[:4])},
        "image 5 of 5 is cut off": {**PAIR, "images-idx3-ubyte": idx(IMAGES)[:-1]},
        "more bytes than its 5 images": {**PAIR, "images-idx3-ubyte": idx(IMAGES) + b"x"},
        "does not have the 5 labels": {**PAIR, "labels-idx1-ubyte": idx(LABELS)[:-1]},
        "4,294,967,295 images, and at most 1,000,000": {**PAIR, "images-idx3-ubyte": idx_header((2**32 - 1, 28, 28))},
        "65,536 x 65,536 pixels": {**PAIR, "images-idx3-ubyte": idx_header((5, 65_536, 65_536))},
        "0 x 0 pixels": {**PAIR, "images-idx3-ubyte": idx_header((5, 0, 0))},
    }
    for number, (reason, files) in enumerate(cases.items()):
        assert reason in refused(write_tree(tmp_path / str(number), files))
        packed = {f"{name}.gz": gzip.compress(data) for name, data in files.items()}
        assert reason.replace("ubyte", "ubyte.gz") in refused(write_tree(tmp_path / f"{number}.gz", packed))


def test_several_data_sets_in_one_folder(tmp_path: Path) -> None:
    files = {f"{folder}/{name}": data for folder in ("digits", "letters") for name, data in PAIR.items()}
    assert "IDX files of several data sets, and one is needed: digits, letters" in refused(write_tree(tmp_path, files))


# ----------------------------------------------------------------------------
# npz.


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_val", "y_val"),
    ],
)
def test_npz_of_two_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (IMAGES, LABELS, IMAGES[:2], LABELS[:2]), strict=True))
    (tmp_path / "x.npz").write_bytes(npz(**arrays))
    items = items_of(tmp_path / "x.npz")
    assert [(item.label, item.split) for item in items] == [
        *((str(label), "train") for label in LABELS),
        *((str(label), "test") for label in LABELS[:2]),
    ]
    assert items[0].name == f"image 1 of {names[0]} of x.npz"


def test_npz_types_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    half = IMAGES // 2
    colour = np.stack([IMAGES, IMAGES, IMAGES], -1)
    for images, expected in (
        (IMAGES.astype(np.int64), IMAGES),
        (IMAGES.astype(np.uint16), IMAGES),
        (IMAGES.astype(">i4"), IMAGES),
        (IMAGES.astype(np.float32), IMAGES),
        (half / 255.0, half),
        (IMAGES > 128, (IMAGES > 128) * np.uint8(255)),
        (IMAGES[..., None], IMAGES),
        (colour, IMAGES),
        (np.asfortranarray(IMAGES), IMAGES),
        (SQUARE.reshape(5, 36), SQUARE),
    ):
        path.write_bytes(npz(x=images, y=LABELS))
        check(path, expected)
    for labels in (LABELS[:, None], LABELS.astype(np.float64), LABELS.astype("U"), LABELS.astype("S")):
        path.write_bytes(npz(x=IMAGES, y=labels))
        check(path)


def test_npz_classes_with_names(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz(x=IMAGES, y=np.array(["é", "b", "c", "b", "a"])))
    assert [item.label for item in items_of(tmp_path / "x.npz")] == ["é", "b", "c", "b", "a"]


def test_bad_npz_files(tmp_path: Path) -> None:
    nan = IMAGES.astype(np.float32)
    nan[3, 0, 0] = np.nan
    cases: dict[str, dict[str, np.ndarray]] = {
        "needs a pickle, which is never read: x": {"x": np.array([None] * 5, object), "y": LABELS},
        "needs a pickle, which is never read: y": {"x": IMAGES, "y": np.array(["a"] * 5, object)},
        "has no arrays x_train and y_train, images and labels, or x and y, but: a, b": {"a": IMAGES, "b": LABELS},
        "has 5 images, but there are 4 labels": {"x": IMAGES, "y": LABELS[:4]},
        "image 4 of x of x.npz has the value nan": {"x": nan, "y": LABELS},
        "has the value 256, and grey levels are from 0 to 255": {"x": IMAGES.astype(int) * 0 + 256, "y": LABELS},
        "has the value -1": {"x": IMAGES.astype(int) * 0 - 1, "y": LABELS},
        "images have (N, H, W)": {"x": IMAGES[:, :, :, None, None], "y": LABELS},
        "numbers are needed": {"x": IMAGES.astype(complex), "y": LABELS},
        "one label for each image is needed": {"x": IMAGES, "y": np.eye(5)},
        "labels that are not whole numbers": {"x": IMAGES, "y": LABELS + 0.5},
    }
    for reason, arrays in cases.items():
        (tmp_path / "x.npz").write_bytes(npz(**arrays))
        assert reason in refused(tmp_path / "x.npz")


def test_npz_that_is_damaged(tmp_path: Path) -> None:
    data = npz(x=IMAGES, y=LABELS)
    for length in range(4, len(data), 11):
        (tmp_path / "x.npz").write_bytes(data[:length])
        refused(tmp_path / "x.npz")
    for at in range(0, len(data), 5):
        (tmp_path / "x.npz").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            items_of(tmp_path / "x.npz")
        except InvalidImages as error:
            reason = str(error)
            continue
    assert "damaged" in reason


# ----------------------------------------------------------------------------
# CSV.


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_csv_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    variants = [
        "label,p0,p1,p2,p3\n7,0,1,2,255\n",
        "7,0,1,2,255",
        '\ufeff"label","p0","p1","p2","p3"\r\n7, 0,1 ,2,255\r\n\r\n',
        "p0,p1,p2,p3,class\n0,1,2,255,7\n",
        "label,0,1,2,3\n7.0,0.0,1.0,2,255.0\n",
        "label,1x1,1x2,2x1,2x2\n07,0,1,2,255\n",
    ]
    for text in variants:
        (item,) = items_of(write_csv(path, text))
        assert (item.name, item.label, item.split) == ("row 1 of x.csv", "7", None)
        assert np.array_equal(item.content, [[0, 1], [2, 255]])
    assert items_of(write_csv(path, "label,a,b,c,d\né,0,1,2,3\n"))[0].label == "é"


def test_labels_from_1_and_with_gaps_are_class_names(tmp_path: Path) -> None:
    rows = "".join(f"{label},0,1,2,3\n" for label in (1, 2, 9, 26))
    assert [item.label for item in items_of(write_csv(tmp_path / "x.csv", rows))] == ["1", "2", "9", "26"]


BAD_ROWS = {
    "7,0,1,2": "row 2 of x.csv has 4 values, and 5 are needed",
    "7,0,1,2,3,4": "row 2 of x.csv has 6 values, and 5 are needed",
    "7,0,nan,2,3": "row 2 of x.csv has the value nan",
    "7,0,inf,2,3": "has the value inf",
    "7,0,,2,3": "has the value nothing",
    "7,0,256,2,3": "has the value 256, and pixels are whole numbers from 0 to 255",
    "7,0,-1,2,3": "has the value -1",
    "7,0,0.5,2,3": "has the value 0.5",
    "7,0,1e99,2,3": "has the value 1e99",
    f"7,0,{'9' * 5000},2,3": "has the value 9999",
    "7,0,x\x1b,2,3": "has the value x\\x1b",
    ",0,1,2,3": "row 2 of x.csv has no label",
    "NaN,0,1,2,3": "row 2 of x.csv has no label",
    "\x1b,0,1,2,3": "cannot be printed",
    "7,0,1,2,3\0": "has a zero byte",
}


@pytest.mark.parametrize("row", BAD_ROWS, ids=lambda row: repr(row[:12]))
def test_bad_rows(tmp_path: Path, row: str) -> None:
    path = write_csv(tmp_path / "x.csv", f"label,a,b,c,d\n1,0,1,2,3\n{row}\n")
    assert BAD_ROWS[row] in refused(path)


def test_csv_without_labels_or_square_images(tmp_path: Path) -> None:
    header = ",".join(f"pixel{n}" for n in range(784))
    row = ",".join(["0"] * 784)
    path = tmp_path / "x.csv"
    assert "has a header without a column `label`" in refused(write_csv(path, f"{header}\n{row}\n"))
    assert "783 columns beside the label, which is no square" in refused(write_csv(path, f"{row}\n"))
    assert "not a CSV file of images" in refused(write_csv(path, "hello\nworld\n"))
    assert "line 1 is very long" in refused(write_csv(path, "0," * (3 << 20)))


def test_a_csv_that_is_cut_off(tmp_path: Path) -> None:
    data = gzip.compress(csv(SQUARE, LABELS))
    (tmp_path / "x.csv.gz").write_bytes(data[:-20])
    assert "damaged or cut off" in refused(tmp_path / "x.csv.gz")


def test_kaggles_folder(tmp_path: Path) -> None:
    """`test.csv` of the Digit Recognizer has no labels, and the submission no images."""
    unlabelled = csv(SQUARE, LABELS).replace(b"label,", b"").replace(b"\n3,", b"\n").replace(b"\n1,", b"\n")
    files = {"train.csv": csv(SQUARE, LABELS), "test.csv": unlabelled, "sample_submission.csv": b"ImageId,Label\n1,0\n"}
    with open_source(write_zip(tmp_path / "digit-recognizer.zip", files)) as source:
        items = list(source.items())
        assert [item.label for item in items] == ["3", "1", "7", "1", "3"]
        assert {item.split for item in items} == {None}
        assert [note.split(" has ")[0] for note in source.notes] == [
            "skipped: sample_submission.csv",
            "skipped: test.csv",
        ]


def test_csv_of_two_splits(tmp_path: Path) -> None:
    files = {f"mnist_{split}.csv": csv(SQUARE, LABELS) for split in ("train", "test")}
    with open_source(write_tree(tmp_path, files)) as source:
        items = list(source.items())
        assert [item.split for item in items] == ["test"] * 5 + ["train"] * 5
        assert [item.name for item in source.items(7)] == [item.name for item in items[7:]]
        assert source.count is None


def test_too_many_rows_or_classes(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", "".join(f"{label},0,1,2,3\n" for label in range(101)))
    assert "more than 100 classes" in refused(path)
    assert "more than 50 images" in refused(path, Limits(images=50))
