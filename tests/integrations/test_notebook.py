"""The notebook in docs/, executed by a real kernel with a real service: each result shows itself."""

import base64
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.running_service import Service, running

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The bundled generator draws until the run has published a checkpoint."""
    with running(tmp_path_factory.mktemp("service") / "home", ACGAN_PRETRAINED="true") as service:
        yield service


@pytest.fixture(scope="module")
def outputs(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What each code cell shows: id of the cell -> its outputs by media type."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACGAN_URL", f"http://127.0.0.1:{service.port}")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        folder = tmp_path_factory.mktemp("notebook")
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.id: [dict(output.get("data", {})) for output in cell.outputs] for cell in cells}


def test_the_stored_notebook_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert NOTEBOOK.stat().st_size < 10_000


def test_digits_and_numbers_are_pictures(outputs: dict[str, list[dict[str, Any]]]) -> None:
    for cell, size in (("digits", (560, 112)), ("number", None)):
        (shown,) = outputs[cell]
        picture = Image.open(io.BytesIO(base64.b64decode(shown["image/png"])))
        assert picture.format == "PNG"
        assert size is None or picture.size == size
    assert outputs["pixels"][0]["text/plain"] == "(20, 28, 28)"


@pytest.mark.parametrize("cell", ["morph", "evolution"])
def test_animations_are_shown(cell: str, outputs: dict[str, list[dict[str, Any]]]) -> None:
    (shown,) = outputs[cell]
    data = shown["text/html"].partition("base64,")[2].partition("'")[0]
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.format == "GIF"
        assert getattr(picture, "n_frames", 1) > 1


def test_a_run_shows_its_state_and_its_losses(outputs: dict[str, list[dict[str, Any]]]) -> None:
    (shown,) = outputs["follow"]
    assert "succeeded, epoch 3 of 3" in shown["text/html"]
    assert shown["text/html"].count("<polyline") == outputs["history"][0]["text/html"].count("<polyline") == 2


def test_lists_are_tables(outputs: dict[str, list[dict[str, Any]]]) -> None:
    assert "<td style='text-align:left'>served</td>" in outputs["connect"][0]["text/html"]
    assert "<td style='text-align:left'>notebook</td>" in outputs["jobs"][0]["text/html"]
