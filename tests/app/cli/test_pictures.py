"""Files of digits: their format follows the name of the file, and no command writes another one."""

import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acgan_client import Client
from app.cli.display.picture_files import ANIMATIONS, DIGITS, PICTURES, format_of
from app.cli.display.pictures import in_rows
from app.settings import AppSettings
from models.errors import InvalidInput
from models.registry.store import CheckpointStore
from models.sampling.animation import ANIMATIONS as API_ANIMATIONS
from models.sampling.formats import FORMATS
from tests.app.cli.test_cli import acgan
from tests.app.conftest import publish, publish_own
from tests.models.registry.test_store import NEW
from tests.support.serving import serving
from tests.support.training_sets import bring


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    publish(store, NEW, 2, seed=3)
    with serving(settings) as address:
        monkeypatch.setenv("ACGAN_URL", address)
        yield address


def test_the_formats_are_those_of_the_api() -> None:
    assert tuple(FORMATS) == DIGITS
    assert {*API_ANIMATIONS, "png"} == set(ANIMATIONS)


@pytest.mark.parametrize(
    ("name", "form", "formats", "expected"),
    [
        (None, None, DIGITS, "png"),
        ("x", None, DIGITS, "png"),
        ("x", "zip", DIGITS, "zip"),
        ("a.b/x.NPY", None, DIGITS, "npy"),
        ("x.zip", "zip", DIGITS, "zip"),
        ("x.data", "npy", DIGITS, "npy"),
        ("x.gif", None, ANIMATIONS, "gif"),
        ("x", None, ANIMATIONS, "gif"),
    ],
)
def test_the_format_follows_the_name(
    name: str | None, form: str | None, formats: tuple[str, ...], expected: str
) -> None:
    assert format_of(Path(name) if name else None, form, formats) == expected


@pytest.mark.parametrize(
    ("name", "form", "formats", "sentence"),
    [
        ("x.jpg", None, DIGITS, "x.jpg cannot be written as JPEG: name a file that ends in .png, .zip or .npy"),
        ("x.JPEG", None, PICTURES, "x.JPEG cannot be written as JPEG: name a file that ends in .png"),
        ("x.gif", "png", DIGITS, "x.gif cannot be written as GIF"),
        ("x.png", "zip", DIGITS, "x.png is named as PNG, but --format is zip: rename it, or omit --format"),
        ("x.png", "bmp", DIGITS, "there is no format 'bmp': use --format png, zip or npy"),
        ("x.data", None, DIGITS, "x.data cannot be written as DATA"),
    ],
)
def test_no_file_has_another_format_than_its_name(
    name: str, form: str | None, formats: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        format_of(Path(name), form, formats)
    assert sentence in str(refused.value)


def test_digits_are_written_in_every_format(store: CheckpointStore, tmp_path: Path) -> None:
    words = ["digits", "7", "-n", "3", "--seed", "5"]
    for name in ("x.png", "x.zip", "x.npy", "x"):
        assert acgan(*words, "-o", str(tmp_path / name), *(["--format", "npy"] if name == "x" else [])).returncode == 0
    digits = np.load(tmp_path / "x.npy")
    assert (digits.dtype, digits.shape) == (np.uint8, (3, 28, 28))
    assert (tmp_path / "x").read_bytes() == (tmp_path / "x.npy").read_bytes()
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.format == "PNG"
        assert (np.asarray(sheet) == np.hstack(list(digits))).all()
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == ["7-5-0.png", "7-5-1.png", "7-5-2.png"]
        assert (np.asarray(Image.open(io.BytesIO(archive.read("7-5-2.png")))) == digits[2]).all()
    refused = acgan(*words, "-o", str(tmp_path / "x.jpg"))
    assert refused.returncode == 2
    assert not (tmp_path / "x.jpg").exists()


def test_digits_that_find_no_room_leave_the_picture_that_was_there(store: CheckpointStore, tmp_path: Path) -> None:
    (tmp_path / "keep.png").write_bytes(b"a picture")
    words = ["digits", "7", "-n", "1000", "--seed", "1", "-o", "keep.png"]
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert (ended.returncode, ended.stderr) == (2, "error: keep.png cannot be written: File too large\n")
    assert (tmp_path / "keep.png").read_bytes() == b"a picture"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_evaluation_prints_its_figures_although_its_picture_finds_no_room(
    store: CheckpointStore, tmp_path: Path
) -> None:
    bars = str(bring(store.training_data, "bars").reference)
    checkpoint = publish_own(store, "20260103-000000-aaaaaa", bars, ("a", "b", "c"))
    (tmp_path / "full.png").symlink_to("/dev/full")
    ended = acgan("evaluate", checkpoint, "--quick", "--json", "--picture", str(tmp_path / "full.png"))
    assert ended.returncode == 2
    assert ended.stderr.endswith(f"error: {tmp_path}/full.png cannot be used: No space left on device\n")
    assert json.loads(ended.stdout)["checkpoint"] == checkpoint


def test_a_number_is_drawn_by_the_service(address: str, tmp_path: Path) -> None:
    file = tmp_path / "31.png"
    ended = acgan("numbers", "31", "--seed", "4", "-o", str(file), "--scale", "2")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"31: checkpoint {NEW}-e002, seed 4, index 0, in {file}\n"
    with Client(address) as client:
        assert file.read_bytes() == client.numbers("31", seed=4, scale=2).file
    assert acgan("numbers", "31", "--seed", "4", "-o", str(tmp_path / "31.npy")).returncode == 0
    assert np.load(tmp_path / "31.npy").shape == (2, 28, 28)
    assert acgan("numbers", "31", "--style", "latent", "--seed", "4", "-o", str(file)).returncode == 0
    with Client(address) as client:
        assert file.read_bytes() == client.numbers("31", seed=4, style="latent").file
    assert acgan("numbers", "31", "--style", "roman").returncode != 0
    about = json.loads(acgan("numbers", "31", "--seed", "4", "--json").stdout)
    assert (about["number"], about["seed"], about["checkpoint"]) == ("31", 4, f"{NEW}-e002")
    *picture, sentence = acgan("numbers", "31", "--seed", "4").stdout.splitlines()
    assert len(picture) == 18  # with a margin
    assert sentence.startswith("31: checkpoint")
    assert "digits" in acgan("numbers", "three").stderr


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_a_morph_and_the_film_of_a_run_have_the_format_of_the_name(address: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"x.{suffix}"
    assert acgan("morph", "3", "8", "--seed", "4", "--steps", "5", "-o", str(file)).returncode == 0
    with Image.open(file) as picture:
        assert picture.format == suffix.upper()
        assert getattr(picture, "n_frames", 1) == (1 if suffix == "png" else 8)
    ended = acgan("evolution", NEW, "--digit", "3", "--seed", "4", "-o", str(file))
    assert ended.returncode == 0, ended.stderr
    with Image.open(file) as picture:
        assert picture.format == suffix.upper()
        assert picture.size == ((56, 28) if suffix == "png" else (28, 28))


def test_a_film_is_printed_on_a_terminal_as_digits_side_by_side(address: str) -> None:
    ended = acgan("evolution", NEW, "--digit", "3", "--seed", "4")
    assert ended.returncode == 0, ended.stderr
    *picture, sentence = ended.stdout.splitlines()
    assert {len(line) for line in picture} == {56}
    assert sentence == f"digit 3 of job {NEW}: seed 4, index 0"


OWN = "20260103-000000-aaaaaa"


def test_the_film_of_a_run_on_own_images_takes_the_names_of_their_classes(
    address: str, store: CheckpointStore, tmp_path: Path
) -> None:
    made = bring(store.training_data, "shapes", classes=("circle", "cross", "square"))
    publish_own(store, OWN, str(made.reference), made.classes)
    out = str(tmp_path / "x.png")
    for words, name in (([], "circle"), (["--class", "square"], "square"), (["--digit", "1"], "cross")):
        ended = acgan("evolution", OWN, *words, "--seed", "4", "-o", out)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(f"class {name} of job {OWN}: ")
    refused = acgan("evolution", OWN, "--class", "7", "-o", out)
    assert refused.returncode == 2
    assert refused.stderr == "error: --class: there is no class '7': the classes are circle, cross, square\n"


def test_large_digits_fit_the_terminal(store: CheckpointStore) -> None:
    printed = acgan("digits", "7", "-n", "10", "--scale", "2", "--seed", "1")
    assert printed.returncode == 0, printed.stderr
    assert 0 < max(map(len, printed.stdout.splitlines())) <= 80


def test_a_seed_that_the_service_would_refuse_is_refused(store: CheckpointStore) -> None:
    refused = acgan("digits", "7", "--seed", str(2**53))
    assert refused.returncode == 2
    assert "less than or equal to 9007199254740991" in refused.stderr


def test_a_wide_picture_is_cut_between_digits() -> None:
    picture = np.zeros((2, 30), np.uint8)
    picture[0] = 255
    picture[0, [9, 19]] = 0
    assert [part.shape[1] for part in in_rows(picture, 12)] == [9, 10, 11]
    assert [part.shape[1] for part in in_rows(np.eye(20, dtype=np.uint8), 8)] == [8, 8, 4]
    assert np.array_equal(np.hstack(list(in_rows(picture, 12))), picture)
