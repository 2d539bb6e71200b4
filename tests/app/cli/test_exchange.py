"""The original `.hdf5` files become served checkpoints, and are exported again; ONNX draws what torch draws."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import pytest
import torch

from app.cli.local.keras_import import NothingToImport, find_epochs
from app.main import create_app
from app.settings import AppSettings
from models.config import DatasetName
from models.interop.keras import from_keras, load_discriminator, load_generator, save_weights
from models.interop.onnx import to_onnx
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import discriminator_from_bytes, generator_from_bytes
from models.networks.weights import to_bytes as to_safetensors
from models.registry.store import DISCRIMINATOR, GENERATOR, CheckpointId, CheckpointStore
from tests.app.cli.test_cli import acgan
from tests.models.interop.test_keras import write_like_keras
from tests.models.interop.test_keras_files import NO_NORM, weights_of, write_keras_3, write_shapes
from tests.models.training.test_parity import images, integers, keras_weights
from tests.support.api_clients import local_client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the original script writes in two epochs, and files that are not its weights."""
    folder = tmp_path / "seed run"
    folder.mkdir()
    for epoch in ("001", "012"):
        write_like_keras(folder / f"params_generator_epoch_{epoch}.hdf5", "generator", "sequential_4/")
        write_like_keras(folder / f"params_discriminator_epoch_{epoch}.hdf5", "discriminator", "")
    (folder / "acgan-history.pkl").write_bytes(b"never read")
    (folder / "params_generator_epoch_0001x.hdf5").write_bytes(b"")
    return folder


@torch.no_grad()
def test_a_folder_of_the_original_script_is_imported_served_and_exported_unchanged(
    folder: Path, tmp_path: Path, dataset_name: DatasetName, redis_url: str
) -> None:
    result = acgan("import-keras", str(folder), "--dataset", dataset_name, "--json")
    assert result.returncode == 0, result.stderr
    manifests = [json.loads(line) for line in result.stdout.splitlines()]
    assert [manifest["epoch"] for manifest in manifests] == [1, 12]
    last = manifests[-1]
    assert (last["config"]["name"], last["config"]["epochs"], last["losses"]) == ("seed run", 12, None)

    settings = AppSettings(redis_url=redis_url)
    store = CheckpointStore(settings.store_dir)
    assert str(store.latest()) == last["id"]
    manifest = store.manifest(CheckpointId.parse(last["id"]))
    drawn = generator_from_bytes(store.read(manifest, GENERATOR))(integers("z"), integers("labels"))
    assert (drawn - images("generator_inference")).abs().max() < 1e-5
    discriminator = discriminator_from_bytes(store.read(manifest, DISCRIMINATOR))
    before = load_discriminator(folder / "params_discriminator_epoch_012.hdf5").state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in discriminator.state_dict().items())

    with local_client(create_app(settings)) as client:
        assert client.get("/serving").json()["serving"] == last["id"]
        assert client.get("/digits/7").headers["X-Checkpoint"] == last["id"]
        assert client.get(f"/checkpoints/{last['id']}").json()["losses"] is None
        assert client.get(f"/jobs/{last['job']}/epochs/12/samples.png").status_code == 200

    for words, name in ([], "g.hdf5"), (["--discriminator"], "d.weights.h5"):
        result = acgan("export", last["id"], *words, "-o", str(tmp_path / name))
        assert result.returncode == 0, result.stderr
    ours, theirs = load_generator(tmp_path / "g.hdf5"), load_generator(folder / "params_generator_epoch_012.hdf5")
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert torch.equal(load_discriminator(tmp_path / "d.weights.h5").conv_1.weight, before["conv_1.weight"])


def test_a_generator_below_the_quality_gate_is_imported_and_not_served(
    tmp_path: Path, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACGAN_JUDGE", "true")
    folder = tmp_path / "broken"
    folder.mkdir()
    broken = Generator()
    broken.dense.weight.data[0, 0] = float("nan")
    save_weights(Generator(), folder / "params_generator_epoch_001.hdf5")
    save_weights(broken, folder / "params_generator_epoch_002.hdf5")
    result = acgan("import-keras", str(folder), "--dataset", dataset_name)
    assert result.returncode == 0, result.stderr
    assert "are recognised, below the 50% that serving requires" in result.stdout
    assert "its weights are not finite" in result.stdout
    store = CheckpointStore(AppSettings().store_dir)
    assert store.latest() is None
    assert store.manifests()[0].metrics["frechet_distance"] > 1


def test_another_folder_is_reported_and_nothing_is_published(
    folder: Path, tmp_path: Path, dataset_name: DatasetName
) -> None:
    whole = (folder / "params_generator_epoch_012.hdf5").read_bytes()
    (tmp_path / "empty").mkdir()
    for place, message in (
        (tmp_path / "none", "there is no folder"),
        (tmp_path / "empty", "params_generator_epoch_NNN.hdf5"),
    ):
        result = acgan("import-keras", str(place), "--dataset", dataset_name)
        assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    for damaged in (whole[: len(whole) // 2], b"hello", whole[:2000] + b"\xff" * 3000 + whole[5000:]):
        (folder / "params_generator_epoch_012.hdf5").write_bytes(damaged)
        result = acgan("import-keras", str(folder), "--dataset", dataset_name)
        assert result.returncode == 2
        assert "params_generator_epoch_012.hdf5" in result.stderr
        assert "Traceback" not in result.stderr
    (folder / "params_generator_epoch_012.hdf5").write_bytes(whole)
    save_weights(Generator(30), folder / "params_generator_epoch_002.hdf5")
    result = acgan("import-keras", str(folder), "--dataset", dataset_name)
    assert result.returncode == 2
    assert "these are two runs" in result.stderr
    assert CheckpointStore(AppSettings().store_dir).manifests() == []


@torch.no_grad()
def test_onnx_draws_what_torch_and_keras_draw(tmp_path: Path) -> None:
    generator = from_keras(Generator(100), keras_weights("generator"))
    weights, out = tmp_path / "g.safetensors", tmp_path / "g.onnx"
    weights.write_bytes(to_safetensors(generator))
    result = acgan("export", str(weights), "-o", str(out), "--json")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    about = json.loads(result.stdout)
    assert about == {"checkpoint": str(weights), "format": "onnx", "file": str(out), "bytes": out.stat().st_size}

    session = onnxruntime.InferenceSession(out)
    assert [(each.name, each.type, each.shape) for each in session.get_inputs()] == [
        ("noise", "tensor(float)", ["N", 100]),
        ("labels", "tensor(int64)", ["N"]),
    ]
    for n in (1, 7, 100):
        noise, labels = torch.rand(n, 100) * 2 - 1, torch.randint(10, (n,))
        drawn, pixels = session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
        assert np.abs(drawn - generator(noise, labels).numpy()).max() < 1e-4
        assert pixels.dtype == np.uint8
        assert np.abs(pixels[:, None] - (drawn * 127.5 + 127.5)).max() <= 0.501
    drawn, _ = session.run(None, {"noise": integers("z").numpy(), "labels": integers("labels").numpy()})
    assert np.abs(drawn - images("generator_inference").numpy()).max() < 1e-4
    assert drawn.std() > 0.01


def test_an_export_follows_a_link_and_writes_into_a_device(tmp_path: Path) -> None:
    weights, link = tmp_path / "g.safetensors", tmp_path / "link.hdf5"
    weights.write_bytes(to_safetensors(Generator(10)))
    link.symlink_to("real.hdf5")
    (tmp_path / "null.hdf5").symlink_to(os.devnull)
    for out in ("link.hdf5", "null.hdf5"):
        ended = acgan("export", str(weights), "-o", str(tmp_path / out))
        assert ended.returncode == 0, ended.stderr
        assert (tmp_path / out).is_symlink()
    assert load_generator(tmp_path / "real.hdf5").latent_size == 10
    assert Path(os.devnull).is_char_device()


def test_onnx_of_a_generator_with_random_weights_agrees_too() -> None:
    """Random weights, so that no part of the graph is near zero: an error in any part is noticed."""
    torch.manual_seed(0)
    generator = Generator(30).eval()
    for norm in (generator.norm_7, generator.norm_14):
        for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            assert tensor is not None
            tensor.uniform_(0.5, 1.5)
    session = onnxruntime.InferenceSession(to_onnx(generator, "wild"))
    noise, labels = torch.rand(5, 30) * 2 - 1, torch.arange(5)
    drawn, _ = session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
    with torch.no_grad():
        assert np.abs(drawn - generator(noise, labels).numpy()).max() < 1e-4
    assert drawn.std() > 0.05
    assert session.get_modelmeta().custom_metadata_map["checkpoint"] == "wild"


@pytest.mark.parametrize(
    "names", ["params_{}_epoch_001.safetensors", "{}.safetensors"], ids=["of acgan train", "of a checkpoint"]
)
def test_the_generator_beside_a_discriminator_says_how_many_classes_it_has(tmp_path: Path, names: str) -> None:
    file, generator = tmp_path / names.format("discriminator"), tmp_path / names.format("generator")
    out = tmp_path / "d.hdf5"
    command = ["export", str(file), "--discriminator", "-o", str(out)]
    file.write_bytes(to_safetensors(Discriminator(3)))
    alone = acgan(*command)
    assert alone.returncode == 2
    assert "has 3 classes, or half as many with two outputs for each. Its generator's file says which" in alone.stderr
    assert str(generator) in alone.stderr
    generator.write_bytes(to_safetensors(Generator(12, 3)))
    exported = acgan(*command)
    assert exported.returncode == 0, exported.stderr
    assert load_discriminator(out).auxiliary.out_features == 3
    out.unlink()
    generator.write_bytes(to_safetensors(Generator(12, 5)))
    file.write_bytes(to_safetensors(Discriminator(10)))  # an ADC-GAN's of 5 classes, not one of digits
    refused = acgan(*command)
    assert refused.returncode == 2
    assert "has 10 classes, and its training data 5" in refused.stderr
    assert not out.exists()


def test_a_discriminator_unknown_to_the_original_script_is_not_exported_for_it(tmp_path: Path) -> None:
    (tmp_path / "sharp.safetensors").write_bytes(to_safetensors(Discriminator(20)))
    result = acgan("export", str(tmp_path / "sharp.safetensors"), "--discriminator", "-o", str(tmp_path / "d.hdf5"))
    assert result.returncode == 2
    assert "has 20 classes" in result.stderr
    assert not (tmp_path / "d.hdf5").exists()


@pytest.mark.parametrize(
    ("library", "words", "message"),
    [
        ("onnxscript", ["export", "{weights}", "-o", "g.onnx"], "pip install 'acgan[onnx]'"),
        ("h5py", ["export", "{weights}", "-o", "g.hdf5"], "pip install 'acgan[keras]'"),
        ("h5py", ["import-keras", "."], "pip install 'acgan[keras]'"),
        ("mlflow", ["train", "--report-to", "mlflow"], "pip install 'acgan[tracking]'"),
    ],
)
def test_a_missing_library_is_named(tmp_path: Path, library: str, words: list[str], message: str) -> None:
    weights = tmp_path / "g.safetensors"
    weights.write_bytes(to_safetensors(Generator(10)))
    arguments = [word.format(weights=weights) for word in words]
    without = (
        f"import sys; sys.modules[{library!r}] = None; sys.argv[1:] = {arguments}; from app.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "digits.png"], "use --format onnx, keras, keras3 or huggingface"),
        (["-o", "x.h5", "--format", "keras3"], "Keras 3 reads its own format from files *.weights.h5"),
        (["-o", "x.weights.h5", "--format", "keras"], "and no other from them: rename x.weights.h5"),
        (["-o", "x", "--format", "tflite"], "there is no format 'tflite'"),
        (["-o", "x.onnx"], "no checkpoint has been published"),
        (["none.safetensors", "-o", "x.onnx"], "there is no file none.safetensors"),
        (["-o", "x.onnx", "--discriminator"], "only generators can be written as ONNX"),
        (["nonsense", "-o", "x.hdf5", "--discriminator"], "ids look like"),
    ],
)
def test_what_cannot_be_exported_is_reported(words: list[str], message: str) -> None:
    result = acgan("export", *words)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_every_suffix_and_both_versions_of_keras_are_found(tmp_path: Path) -> None:
    for name in (
        "params_generator_epoch_001.hdf5",
        "params_generator_epoch_002.h5",
        "params_generator_epoch_003.weights.h5",
        "params_generator_epoch_1000.HDF5",
        "params_discriminator_epoch_002.weights.h5",
        "params_generator_epoch_002.h5.bak",
        "params_combined_epoch_002.h5",
    ):
        (tmp_path / name).touch()
    epochs = find_epochs(tmp_path)
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 1000]
    assert [epoch.discriminator and epoch.discriminator.name for epoch in epochs] == [
        None,
        "params_discriminator_epoch_002.weights.h5",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["params_generator_epoch_1001.hdf5"], "params_generator_epoch_1001.hdf5: a run has at most 1000 epochs"),
        (["params_generator_epoch_000.h5", "params_generator_epoch_1000.h5"], "params_generator_epoch_1000.h5: a run"),
        (["params_generator_epoch_001.h5", "params_generator_epoch_001.hdf5"], "are from the same epoch: keep one"),
        (
            ["combined.hdf5", "notes.txt"],
            "named params_generator_epoch_NNN.hdf5, .h5 or .weights.h5; it holds combined",
        ),
    ],
)
def test_a_folder_that_is_not_one_run_is_refused_by_the_files_name(
    names: list[str], words: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(NothingToImport, match=re.escape(words)):
        find_epochs(tmp_path)


def test_a_file_instead_of_its_folder_is_refused_with_what_to_do(folder: Path) -> None:
    refused = acgan("import-keras", str(folder / "params_generator_epoch_001.hdf5"))
    assert (refused.returncode, "params_generator_epoch_001.hdf5 is a file: pass its folder" in refused.stderr) == (
        2,
        True,
    )


def test_keras_3_files_that_count_from_000_become_epochs_from_1(tmp_path: Path, dataset_name: DatasetName) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for epoch in ("000", "001"):
        with h5py.File(folder / f"params_generator_epoch_{epoch}.weights.h5", "w") as file:
            write_keras_3(file, weights_of("generator"))
    imported = acgan("import-keras", str(folder), "--dataset", dataset_name, "--json")
    assert imported.returncode == 0, imported.stderr
    assert [json.loads(line)["epoch"] for line in imported.stdout.splitlines()] == [1, 2]
    assert "file 000 becomes epoch 1" in imported.stderr


def test_a_refused_file_is_named_and_nothing_is_published(folder: Path, dataset_name: DatasetName) -> None:
    with h5py.File(folder / "params_generator_epoch_012.hdf5", "w") as file:
        write_shapes(file, NO_NORM)
    for path, data, words in (
        (folder / "params_generator_epoch_012.hdf5", None, "an older version of the script (no batch normalisation)"),
        (folder / "params_discriminator_epoch_001.hdf5", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ):
        if data:
            path.write_bytes(data)
        refused = acgan("import-keras", str(folder), "--dataset", dataset_name)
        assert refused.returncode == 2
        assert path.name in refused.stderr
        assert words in refused.stderr
    assert CheckpointStore(AppSettings().store_dir).manifests() == []
