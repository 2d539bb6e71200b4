"""Digits on a terminal, and in a pipe."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from app.cli.display.terminal import columns_that_fit, has_greys, in_characters
from models.networks.acgan import Generator
from models.networks.weights import to_bytes
from tests.app.cli.test_cli import acgan

PICTURE = np.array([[0, 255, 0, 255], [0, 0, 255, 255], [255, 0, 0, 0]], np.uint8)


def drawn(picture: np.ndarray, **options: object) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, **options)  # type: ignore[arg-type]
    console.print(in_characters(picture, has_greys(console)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_colours_one_character_shows_two_pixels() -> None:
    assert in_characters(PICTURE, greys=False).plain == " ▀▄█\n▀   "


def test_with_colours_a_character_has_those_of_its_two_pixels() -> None:
    first = drawn(PICTURE, color_system="truecolor").splitlines()[0]
    colours = re.findall(r"38;2;(\d+);\d+;\d+;48;2;(\d+);\d+;\d+", first)
    assert colours == [("0", "0"), ("255", "0"), ("0", "255"), ("255", "255")]
    assert re.sub(r"\x1b\[[\d;]*m", "", first) == "▀▀▀▀"


@pytest.mark.parametrize(("system", "greys"), [("truecolor", True), ("256", True), ("standard", False), (None, False)])
def test_a_terminal_without_greys_gets_characters(system: str | None, greys: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=system)  # type: ignore[arg-type]
    assert has_greys(console) is greys
    assert not has_greys(Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", no_color=True))


@pytest.mark.parametrize(("width", "columns"), [(20, 1), (80, 2), (280, 10), (1000, 10)])
def test_rows_have_as_many_digits_as_fit(width: int, columns: int) -> None:
    assert columns_that_fit(Console(file=io.StringIO(), width=width)) == columns


def test_digits_in_a_pipe_have_no_colours_and_json_describes_them(tmp_path: Path) -> None:
    weights = tmp_path / "g.safetensors"
    weights.write_bytes(to_bytes(Generator(20)))
    words = ["digits", "7", "-n", "3", "--seed", "5", "--checkpoint", str(weights)]
    result = acgan(*words, "--columns", "3")
    assert result.returncode == 0, result.stderr
    *picture, sentence = result.stdout.split("\n")[:-1]
    assert [len(line) for line in picture] == [84] * 14
    assert sentence == f"3 digits of 7 by {weights}, seed 5"
    assert "\x1b" not in result.stdout

    about = json.loads(acgan(*words, "--json").stdout)
    assert (about["label"], about["n"], about["seed"], about["index"]) == (7, 3, 5, 0)
    assert np.array(about["digits"]).shape == (3, 28, 28)
    about = json.loads(acgan(*words, "--json", "-o", str(tmp_path / "7.png")).stdout)
    assert about["file"] == str(tmp_path / "7.png")
    assert (tmp_path / "7.png").read_bytes()[:4] == b"\x89PNG"
