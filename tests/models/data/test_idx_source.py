"""MNIST is found by its content, under any name, compression and layout; no other data set is taken for it."""

import gzip
import http.server
import io
import logging
import os
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.data.catalog import DATASETS
from models.data.idx import idx_header
from models.data.idx_search import search_folder
from models.data.idx_source import DatasetUnavailable, load_idx
from tests.conftest import NOWHERE

DATA = DATASETS["mnist"]
FILES = DATA.files
MNIST = os.environ.get("ACGAN_DATA_DIR")
needs_mnist = pytest.mark.skipif(MNIST is None, reason="ACGAN_DATA_DIR names no folder with MNIST")

Files = dict[str, bytes]
KEYS = dict(zip(("x_train", "y_train", "x_test", "y_test"), FILES, strict=True))  # of Keras' mnist.npz


@pytest.fixture(scope="module")
def mnist() -> Files:
    """The four plain files."""
    return dict(search_folder(Path(str(MNIST)), FILES).found)


def arrays(mnist: Files) -> dict[str, np.ndarray]:
    shaped = ((key, name, FILES[name].shape) for key, name in KEYS.items())
    return {
        key: np.frombuffer(mnist[name], np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
        for key, name, shape in shaped
    }


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def fast_gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def write_npz(path: Path, mnist: Files) -> None:
    np.savez(path, **arrays(mnist))  # type: ignore[arg-type]


def write_zip(path: Path, mnist: Files) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in mnist.items():
            archive.writestr(f"archive/{name}", data)


def each(mnist: Files, path: Callable[[str], Path], pack: Callable[[bytes], bytes] = bytes) -> None:
    for name, data in mnist.items():
        put(path(name), pack(data))


def write_arrays(folder: Path, mnist: Files) -> None:
    for key, array in arrays(mnist).items():
        np.save(folder / f"{key}.npy", array)


def write_links(folder: Path, mnist: Files) -> None:
    """As Kubernetes mounts files."""
    each(mnist, lambda name: folder / "..data" / name)
    for name in mnist:
        (folder / name).symlink_to(folder / "..data" / name)


def write_two(folder: Path, mnist: Files) -> None:
    """As torchvision stores Fashion-MNIST beside MNIST."""
    each(mnist, lambda name: folder / "FashionMNIST" / "raw" / name, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    each(mnist, lambda name: folder / "MNIST" / "raw" / name)


LAYOUTS: dict[str, Callable[[Path, Files], None]] = {
    "plain": lambda at, m: each(m, lambda name: at / name),
    "gzipped": lambda at, m: each(m, lambda name: at / f"{name}.gz", fast_gzip),
    "plain bytes called .gz": lambda at, m: each(m, lambda name: at / f"{name}.gz"),
    "gzipped without .gz": lambda at, m: each(m, lambda name: at / name, fast_gzip),
    "gzipped twice": lambda at, m: each(m, lambda name: at / f"{name}.gz", lambda data: fast_gzip(fast_gzip(data))),
    "with a dot": lambda at, m: each(m, lambda name: at / name.replace("-idx", ".idx")),
    "other names": lambda at, m: each(m, lambda name: at / f"{name.upper()}.bin"),
    "torchvision's root": lambda at, m: each(m, lambda name: at / "MNIST" / "raw" / name),
    "a folder each": lambda at, m: each(m, lambda name: at / name / name),
    "mnist.npz": lambda at, m: write_npz(at / "mnist.npz", m),
    "an array each": write_arrays,
    "a zip archive": lambda at, m: write_zip(at / "archive.zip", m),
    "links": write_links,
    "beside another data set": write_two,
}


@needs_mnist
@pytest.mark.parametrize("layout", LAYOUTS)
def test_mnist_is_found_in_every_layout(layout: str, mnist: Files, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, mnist)
    loaded = load_idx(DATA, tmp_path, tmp_path / "cache", [NOWHERE])
    for key, array in zip(KEYS, loaded, strict=True):
        assert np.array_equal(array, arrays(mnist)[key])
    assert loaded[1][:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]


def fashion(shape: tuple[int, ...]) -> bytes:
    return idx_header(shape) + bytes(int(np.prod(shape)))


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "Fashion-MNIST": (
        lambda at: each(
            {name: fashion(known.shape) for name, known in FILES.items()}, lambda n: at / f"{n}.gz", fast_gzip
        ),
        r"train-images-idx3-ubyte\.gz \(shape \(60000, 28, 28\), but another checksum: other data\)",
    ),
    "other sizes": (
        lambda at: put(at / "train-images-idx3-ubyte", fashion((112_800, 28, 28))),
        r"train-images-idx3-ubyte \(bytes of another shape, \(112800, 28, 28\)\)",
    ),
    "another npz": (
        lambda at: np.savez(at / "mnist.npz", x_train=np.zeros(FILES["t10k-images-idx3-ubyte"].shape, np.uint8)),
        r"mnist\.npz/x_train\.npy \(shape \(10000, 28, 28\), but another checksum",
    ),
    "a pickled npz": (lambda at: np.savez(at / "mnist.npz", x_train=np.array([{}])), r"mnist\.npz/x_train\.npy"),
    "other files": (lambda at: put(at / "photo\x1b[31m.jpg", b"\xff\xd8\xff"), r"photo\\x1b\[31m\.jpg"),
    "no folder": (lambda at: at.rmdir(), "there is no such folder"),
    "a file": (lambda at: at.rename(at.with_name("x")) and at.write_bytes(b""), "is a file: name its folder"),
    "pointers": (lambda at: put(at / "train.gz", b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "a pipe": (lambda at: os.mkfifo(at / "train-images-idx3-ubyte"), "a pipe, a socket or a device"),
    "a torn archive": (lambda at: put(at / "mnist.npz", b"PK\3\4" + bytes(99)), r"mnist\.npz \(is a damaged archive"),
    "a torn file": (
        lambda at: put(at / "labels.gz", fast_gzip(fashion((60_000,)) + os.urandom(999))[:-500]),
        r"labels\.gz \(ends early",
    ),
    "nonsense": (lambda at: put(at / "train-images-idx3-ubyte.gz", b"\x1f\x8bnonsense"), r"\(gzip of something else"),
    "a sparse file": (
        lambda at: os.truncate(at / "x", (at / "x").write_bytes(idx_header((60_000, 28, 28))) + (6 << 30)),
        r"x \(has 6,442,450,960 bytes",
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("other", OTHERS)
def test_a_configured_folder_with_other_files_ends_the_run(other: str, tmp_path: Path) -> None:
    make, words = OTHERS[other]
    folder, asked = tmp_path / "mine", list[str]()
    folder.mkdir()
    make(folder)

    def answer(path: str) -> bytes:
        asked.append(path)
        return b""

    with Mirror(answer) as mirror, pytest.raises(DatasetUnavailable, match=words) as caught:
        load_idx(DATA, folder, tmp_path / "cache", [mirror])
    assert str(caught.value).startswith(f"ACGAN_DATA_DIR={folder}")
    assert "`dataset: printed`" in str(caught.value)
    assert asked == []


@needs_mnist
def test_a_configured_folder_is_not_completed_from_elsewhere(mnist: Files, tmp_path: Path) -> None:
    each(mnist, lambda name: tmp_path / "cache" / name)
    put(tmp_path / "mine" / "labels", mnist["train-labels-idx1-ubyte"])
    with pytest.raises(DatasetUnavailable, match="train-images-idx3-ubyte, t10k-images") as caught:
        load_idx(DATA, tmp_path / "mine", tmp_path / "cache", [NOWHERE])
    assert "It holds: train-labels-idx1-ubyte." in str(caught.value)


@needs_mnist
def test_an_empty_folder_falls_back_on_the_cache_with_a_message(
    mnist: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    each(mnist, lambda name: tmp_path / "cache" / name)
    for name in ("mine/lost+found", "mine/MNIST/raw"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mine" / ".gitkeep").touch()
    with caplog.at_level(logging.INFO):
        assert len(load_idx(DATA, tmp_path / "mine", tmp_path / "cache", [NOWHERE])[0]) == 60_000
    assert f"ACGAN_DATA_DIR={tmp_path / 'mine'} is empty" in caplog.text


def test_missing_mnist_names_the_three_places_and_what_to_do(tmp_path: Path) -> None:
    for folder, place in ((None, "ACGAN_DATA_DIR (not set)"), (tmp_path, f"ACGAN_DATA_DIR={tmp_path} (empty)")):
        with pytest.raises(DatasetUnavailable) as caught:
            load_idx(DATA, folder, tmp_path / "cache", [NOWHERE])
        text = str(caught.value)
        assert place in text
        assert f"the cache {tmp_path / 'cache'} (the files are not there)" in text
        assert NOWHERE in text
        assert "`dataset: printed`" in text


@pytest.mark.parametrize("header", [b"", idx_header((60_000, 28, 28)), idx_header((60_000,))])
def test_a_gzip_bomb_is_unpacked_no_further_than_mnist(header: bytes, tmp_path: Path) -> None:
    put(tmp_path / "train-images-idx3-ubyte.gz", bomb := gzip.compress(header + bytes(500_000_000), 1))
    assert len(bomb) < 4_000_000
    tracemalloc.start()
    with pytest.raises(DatasetUnavailable, match=r"train-images-idx3-ubyte\.gz"):
        load_idx(DATA, tmp_path, tmp_path / "cache", [NOWHERE])
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()


def test_a_zip_bomb_is_unpacked_no_further_than_mnist(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (60_000, 28, 28)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header.getvalue() + bytes(200_000_000))
    with pytest.raises(DatasetUnavailable, match="unpacks to more than"):
        load_idx(DATA, tmp_path, tmp_path / "cache", [NOWHERE])


class Mirror:
    """A mirror that answers each path with the bytes of a function. A context manager, whose value is the address."""

    def __init__(self, answer: Callable[[str], bytes | Iterator[bytes]]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                content = answer(self.path)
                try:
                    for piece in [content] if isinstance(content, bytes) else content:
                        self.wfile.write(piece)
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@needs_mnist
@pytest.mark.parametrize("pack", [bytes, fast_gzip, lambda data: fast_gzip(fast_gzip(data))])
def test_a_mirror_may_use_any_compression_and_the_cache_serves_afterwards(
    pack: Callable[[bytes], bytes], mnist: Files, tmp_path: Path
) -> None:
    with Mirror(lambda path: pack(mnist[path.strip("/").removesuffix(".gz")])) as mirror:
        assert len(load_idx(DATA, None, tmp_path, [NOWHERE, mirror])[0]) == 60_000
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    assert len(load_idx(DATA, None, tmp_path, [])[0]) == 60_000


def test_an_endless_download_is_aborted_and_leaves_no_file(tmp_path: Path) -> None:
    def zeros() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with (
        Mirror(lambda path: zeros()) as mirror,
        pytest.raises(DatasetUnavailable, match="larger than 48,100,000 bytes"),
    ):
        load_idx(DATA, None, tmp_path, [mirror])
    with Mirror(lambda path: b"<html>login") as mirror, pytest.raises(DatasetUnavailable, match="a web page"):
        load_idx(DATA, None, tmp_path, [mirror])
    assert list(tmp_path.iterdir()) == []
