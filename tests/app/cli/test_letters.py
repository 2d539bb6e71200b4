"""`acgan train --dataset printed_letters`: 26 columns in the plot, a judge of 26 classes, and an evaluation."""

import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from app.cli.display.evaluation_table import tabulate
from app.cli.local import evaluation as local_evaluation
from app.cli.local.drawing import NoGenerator, draw_here
from app.cli.local.evaluation import evaluate_here
from app.settings import AppSettings
from models.config import IMAGE_SIZE
from models.data.catalog import DATASETS, LETTERS
from models.evaluation.evaluator import EvaluationBudget
from models.networks.acgan import Generator
from models.networks.weights import load_generator, to_bytes
from tests.app.cli.test_cli import acgan

SIZES = ["--batch-size", "20", "--train-examples", "400", "--test-examples", "100", "--epochs", "1"]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACGAN_JUDGE", "true")
    out = tmp_path / "run"
    words = ["train", "--dataset", "printed_letters", "--latent-size", "12", "--out", str(out), *SIZES]
    result = acgan(*words)
    assert result.returncode == 0, result.stderr
    assert "400 images of printed_letters" in result.stdout.replace("\n", " ")
    return out


@pytest.mark.long
def test_letters_are_trained_judged_plotted_and_evaluated(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (epoch,) = json.loads((trained / "history.json").read_text())["epochs"]
    assert {"label_accuracy_25", "variety_25", "frechet_distance"} <= epoch["metrics"].keys()
    assert "label_accuracy_26" not in epoch["metrics"]
    with Image.open(trained / "plot_epoch_001_generated.png") as plot:
        assert plot.size == ((2 * 26 + 1) * IMAGE_SIZE, 40 * IMAGE_SIZE)
    assert len(list(AppSettings().judges_dir.glob("*-choosing.safetensors"))) == 1
    file = trained / "params_generator_epoch_001.safetensors"
    assert load_generator(file).classes == 26

    few = DATASETS["printed_letters"]._replace(sizes=(800, 200))
    monkeypatch.setitem(DATASETS, "printed_letters", few)
    monkeypatch.setattr(local_evaluation, "QUICK", EvaluationBudget(digits=6, lessons=6, pupils=1, epochs=1))
    picture = tmp_path / "quality.png"
    found = evaluate_here(AppSettings(), str(file), "printed_letters", True, picture, Console(quiet=True))
    assert (found.classes, found.generator.digits) == (list(LETTERS), 156)
    assert len(found.generator.confusion) == len(found.real.variety) == 26
    with Image.open(picture) as drawn:
        assert drawn.height > 26 * 20
    worst = min(range(26), key=lambda label: found.real.label_accuracies[label])
    assert f"({LETTERS[worst]})" in " ".join(value for row in tabulate(found).rows() for value in row)


def test_a_generator_of_letters_draws_no_digits_and_is_not_compared_with_them(tmp_path: Path) -> None:
    file = tmp_path / "letters.safetensors"
    file.write_bytes(to_bytes(Generator(12, 26)))
    with pytest.raises(NoGenerator, match=r"letters\.safetensors has 26 classes; a generator of digits has 10"):
        draw_here(AppSettings(), str(file), 7, 1, None, 0)
    with pytest.raises(NoGenerator, match="has 26 classes, and printed 10: it was trained on other data"):
        evaluate_here(AppSettings(), str(file), "printed", True, None, Console(quiet=True))
