"""What is made to need much memory is read, or refused, in less than 300 MB."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.data.idx import idx_header
from tests.models.data.importing.pictures import PNG, encoded, write_tree

LIMIT = 300_000_000  # bytes, with Python, NumPy and Pillow
READ = """
import resource, sys
from pathlib import Path
from models.data.importing.items import InvalidImages
from models.data.importing.opening import open_source
from models.data.importing.normalise import fit, to_grey
try:
    with open_source(Path(sys.argv[1])) as source:
        count = sum(fit(to_grey(item.content), "mnist", "no").shape == (28, 28) for item in source.items())
        print(f"{count} images")
except InvalidImages as error:
    print(error)
# Not ru_maxrss: Linux counts the memory of the process that started this one too.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def read(path: Path) -> str:
    """Import a source in a process of its own, and return what it says."""
    result = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
    *lines, peak = result.stdout.splitlines()
    assert int(peak) < LIMIT, lines
    return "\n".join(lines)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process used")
def test_the_largest_pictures_that_are_allowed(tmp_path: Path) -> None:
    grey = np.zeros((3072, 4096), np.uint8)
    colour = np.dstack([grey] * 4)
    colour[1000:2000, 1000:2000] = 255
    files = {
        "a/rgba.png": encoded(colour, compress_level=1),
        "a/rgb.jpg": encoded(colour[..., :3], "JPEG"),
        "a/deep.png": encoded(grey.astype(np.uint16), compress_level=1),
        "a/rgba.webp": encoded(colour, "WEBP", lossless=True, method=0),
        "a/rgb.tif": encoded(colour[..., :3], "TIFF", compression="tiff_lzw"),
        "a/float.tif": encoded(grey.astype(np.float32), "TIFF", compression="tiff_lzw"),
        "b/small.png": PNG,
    }
    assert read(write_tree(tmp_path, files)) == "7 images"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process used")
def test_many_entries(tmp_path: Path) -> None:
    """The most entries that are allowed, and more: the archive has a table of contents of 9 MB."""
    for count, answer in ((150_000, "damaged or cut off"), (160_000, "more than 150,000 files and folders")):
        path = tmp_path / f"{count}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/0.png", b"")
        many_entries(path, count)
        assert answer in read(path)


def many_entries(path: Path, count: int) -> None:
    """Repeat the entry of an archive in its table of contents, under other names, as all point to the same data."""
    data = path.read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    record = data[start:end]
    entries = b"".join(
        record[:28] + (14).to_bytes(2, "little") + record[30:46] + b"a/%08d.png" % number for number in range(count)
    )
    locator = b"PK\6\6" + (44).to_bytes(8, "little") + bytes([45, 0, 45, 0]) + bytes(8)
    sizes = [count, count, len(entries), start]
    locator += b"".join(size.to_bytes(8, "little") for size in sizes)
    locator += b"PK\6\7" + bytes(4) + (start + len(entries)).to_bytes(8, "little") + (1).to_bytes(4, "little")
    path.write_bytes(data[:start] + entries + locator + b"PK\5\6" + bytes(4) + b"\xff" * 12 + bytes(2))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process used")
def test_large_files_of_rows_are_streamed(tmp_path: Path) -> None:
    count = 4000
    write_tree(tmp_path, {"labels-idx1-ubyte": idx_header((count,)) + bytes(count)})
    with (tmp_path / "images-idx3-ubyte").open("wb") as file:
        file.write(idx_header((count, 300, 350)))
        file.truncate(16 + count * 300 * 350)  # 420 MB, a hole
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, shape in (("x", (count, 200, 180, 3)), ("y", (count,))):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
                left = int(np.prod(shape))
                while left:
                    left -= member.write(bytes(min(left, 1 << 24)))
    assert read(tmp_path / "images-idx3-ubyte") == f"{count} images"
    assert read(tmp_path / "x.npz") == f"{count} images"
