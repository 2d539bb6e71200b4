"""`acgan export --format huggingface`: a folder that works with torch and safetensors only."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open

from app.cli.local.export_folder import FolderNotEmpty, export_folder
from app.settings import AppSettings
from models.interop import portable_generator
from models.interop.huggingface import FILES
from models.networks.acgan import Generator
from models.networks.weights import load_generator, to_bytes
from models.registry import bundled
from models.sampling.sampler import draw_digits, latents, prepare
from tests.app.cli.test_cli import acgan

CPU = torch.device("cpu")
ALONE = "import sys; sys.modules.update(dict.fromkeys(('app', 'models', 'worker', 'acgan_client')))\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the generator that comes with the package."""
    out = tmp_path_factory.mktemp("export") / "digits"
    export_folder(AppSettings(pretrained=True, home=out.parent / "home"), "latest", out)
    return out


def front_matter(folder: Path) -> dict[str, object]:
    _, block, _ = (folder / "README.md").read_text().split("---\n", 2)
    fields: dict[str, object] = yaml.safe_load(block)
    return fields


def test_the_snippet_of_the_card_draws_the_digits_of_acgan(folder: Path, good: Generator) -> None:
    """In a process that cannot import acgan. Drawn in another order of operations, a rounded pixel may differ by 1."""
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    program = f"{ALONE}{snippet}sys.stdout.buffer.write(bytes(digits.flatten().tolist()))"
    drawn = subprocess.run([sys.executable, "-B", "-c", program], cwd=folder, capture_output=True, check=True)
    digits = np.frombuffer(drawn.stdout, np.uint8).reshape(8, 28, 28)
    expected = draw_digits(prepare(good, CPU), 7, 8, seed=4)
    difference = np.abs(digits.astype(int) - expected)
    assert expected.max() == 255
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize(("seed", "index", "size"), [(0, 0, 100), (2**64 - 1, 2**53, 7), (4, 3, 100)])
def test_the_latents_of_the_folder_are_those_of_acgan(seed: int, index: int, size: int) -> None:
    assert torch.equal(portable_generator.latents(seed, index, 3, size), latents(seed, index, 3, size))


def test_the_folder_describes_the_generator(folder: Path, good: Generator) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    first = bundled.checkpoint()
    assert first is not None
    manifest = bundled.STORE.manifest(first)
    config = json.loads((folder / "config.json").read_text())
    assert (config["architectures"], config["latent_size"], config["num_classes"]) == (["Generator"], 100, 10)
    assert (config["recipe"], config["epoch"], config["checkpoint"]) == ("thorough", 48, manifest.id)
    assert config["normalisation"]["images"] == "[-1, 1]"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "checkpoint": manifest.id, "acgan": config["acgan"]}
    exported = load_generator(folder / "model.safetensors").state_dict()
    assert all(torch.equal(exported[name], tensor) for name, tensor in good.float().state_dict().items())
    with Image.open(folder / "samples.png") as picture:
        assert picture.size == (560, 448)
    card = front_matter(folder)
    assert (card["license"], card["datasets"], card["pipeline_tag"]) == (
        "mit",
        ["mnist"],
        "unconditional-image-generation",
    )
    ((result,),) = [model["results"] for model in card["model-index"]]  # type: ignore[attr-defined]
    shown = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert shown["label_accuracy"] == manifest.metrics["label_accuracy"]
    assert shown == {name: manifest.metrics[name] for name in shown}


def test_a_second_export_writes_the_same_bytes_and_replaces_the_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACGAN_PRETRAINED", "true")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    out = tmp_path / "again"
    shutil.copytree(folder, out)
    for name in before.keys() - {"config.json"}:
        (out / name).write_text("cut off")
    result = acgan("export", "--format", "huggingface", "-o", str(out), "--json")
    assert result.returncode == 0, result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    about = json.loads(result.stdout)
    assert (about["format"], about["file"]) == ("huggingface", str(out))
    assert about["bytes"] == sum(map(len, before.values()))


def test_weights_of_unknown_origin_have_a_card_without_figures(tmp_path: Path) -> None:
    file, out = tmp_path / "weights `of|\nmine.safetensors", tmp_path / "out"
    file.write_bytes(to_bytes(Generator(30)))
    export_folder(AppSettings(device="cuda"), str(file), out)  # the picture is drawn on the CPU
    card = front_matter(out)
    assert card.keys() == {"license", "library_name", "pipeline_tag", "tags"}
    text = (out / "README.md").read_text()
    assert "`weights  of  mine.safetensors`" in text
    assert portable_generator.load_generator(out).draw(3, n=2, seed=1, index=5).shape == (2, 28, 28)


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    for name, content in (("README.md", "mine"), ("config.json", '{"model_type": "bert"}'), ("config.json", "[")):
        (tmp_path / name).write_text(content)
        with pytest.raises(FolderNotEmpty, match="holds other files"):
            export_folder(AppSettings(), "latest", tmp_path)
        (tmp_path / name).unlink()
    refused = acgan("export", "--format", "huggingface", "-o", str(tmp_path), "--discriminator")
    assert (refused.returncode, "use --format keras" in refused.stderr) == (2, True)
