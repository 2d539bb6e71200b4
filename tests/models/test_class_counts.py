"""Training data with another number of classes than MNIST, from the networks to the plot, the judge and the figures."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.config import IMAGE_SIZE, TrainingConfig
from models.data.dataset import Dataset
from models.data.printed import load_printed
from models.evaluation import judge
from models.evaluation.epoch_snapshot import snapshot_epoch
from models.evaluation.evaluator import EvaluationBudget, Evaluator
from models.evaluation.judge import Judge, train_judge
from models.evaluation.quality_gate import QualityGate
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import InvalidWeights, discriminator_from_bytes, generator_from_bytes, to_bytes
from models.sampling.formats import FORMATS, Look
from models.sampling.sampler import SampleRange, Samples, draw_digits, draw_series, prepare
from models.training.recipes import RECIPES
from models.training.trainer import Trainer

CPU = torch.device("cpu")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def config_of(recipe: str = "sharp") -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"dataset": "printed", "recipe": recipe, "epochs": 1, "batch_size": 20, "latent_size": 12}
        | {"precision": "fp32"}
    )


@pytest.fixture(scope="module")
def letters() -> Dataset:
    images, labels, test_images, test_labels = (torch.from_numpy(array) for array in load_printed(600, 200, LETTERS))
    return Dataset("printed", images, labels, test_images, test_labels, LETTERS)


@pytest.fixture(scope="module")
def letter_judge(letters: Dataset) -> Judge:
    return train_judge(letters, "choosing")


def test_every_class_has_images(letters: Dataset) -> None:
    assert letters.class_count == 26
    assert set(letters.train_labels.tolist()) == set(range(26))


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_run_trains_is_judged_and_plotted(letters: Dataset, letter_judge: Judge, recipe: str) -> None:
    trainer = Trainer(config_of(recipe), letters, CPU)
    (result,) = trainer.run()
    found = snapshot_epoch(trainer, result, QualityGate(letter_judge, 12, CPU, 3, letters.classes))
    assert found.verdict.refused
    assert " digits for A " in found.verdict.refused
    assert found.plot.shape == (40 * IMAGE_SIZE, (2 * 26 + 1) * IMAGE_SIZE)
    assert {"label_accuracy_25", "variety_25"} <= found.verdict.metrics.keys()
    assert "label_accuracy_26" not in found.verdict.metrics
    loaded = generator_from_bytes(to_bytes(trainer.generator))
    assert loaded.classes == 26
    column = found.plot[:, 25 * IMAGE_SIZE : 26 * IMAGE_SIZE].reshape(40, IMAGE_SIZE, IMAGE_SIZE)
    assert np.array_equal(column, draw_digits(prepare(loaded, CPU), 25, 40, trainer.config.seed))
    heads = discriminator_from_bytes(to_bytes(trainer.discriminator)).auxiliary.out_features
    assert heads == (52 if RECIPES[recipe].adc else 26)


@pytest.mark.parametrize("real", [0.0, math.nan])
def test_without_different_training_images_the_variety_of_a_class_is_left_out(letter_judge: Judge, real: float) -> None:
    """The distance of equal images is 0, and that of fewer than two is not defined."""
    generator = Generator(12, 26).eval()
    some, none = letter_judge.distances.clone(), torch.full((26,), real)
    some[5] = real
    verdicts = [
        QualityGate(replace(letter_judge, distances=each), 12, CPU, 20).verdict(generator) for each in (some, none)
    ]
    few, no = (verdict.metrics for verdict in verdicts)
    assert all(math.isfinite(figure) for figure in (*few.values(), *no.values()))
    assert len([name for name in few if re.fullmatch(r"variety_\d+", name)]) == 25
    assert 0 < few["variety_least"] <= few["variety"]
    assert few["variety_low"] <= few["variety"] <= few["variety_high"]
    assert not [name for name in (*few, *no) if name.startswith("variety_5")]
    assert not [name for name in no if name.startswith("variety")]
    reason = (
        "there are too few training images of {} to measure how much its digits vary: each class needs two that differ"
    )
    assert [verdict.refused for verdict in verdicts] == [reason.format(5), reason.format(0)]


def test_fakes_have_every_label(letters: Dataset) -> None:
    _, labels = Trainer(config_of(), letters, CPU).compute.draw_latents(2000)
    assert set(labels.tolist()) == set(range(26))


def test_a_judge_is_read_back(letter_judge: Judge) -> None:
    again = judge.from_bytes(judge.to_bytes(letter_judge), "choosing")
    assert len(again.distances) == again.classifier.classify.out_features == 26


def test_the_full_evaluation_has_a_figure_for_every_class(letters: Dataset, letter_judge: Judge) -> None:
    budget = EvaluationBudget(digits=6, lessons=5, pupils=1, epochs=1)
    figures, _ = Evaluator(letters, letter_judge, budget).examine_generator(prepare(Generator(12, 26).eval(), CPU))
    assert len(figures.label_accuracies) == len(figures.variety) == len(figures.confusion) == 26
    assert figures.digits == 26 * 6


def test_a_row_of_all_classes_is_addressed_as_single_digits(letters: Dataset) -> None:
    generator = prepare(Generator(12, 26).eval(), CPU)
    series = SampleRange(None, 3, seed=5, index=2, classes=26)
    rows = draw_series(generator, series)
    assert np.array_equal(rows[26 + 25], draw_digits(generator, 25, 1, 5, 3)[0])
    samples = Samples(series, rows)
    assert samples.name(26 + 25) == "25-5-3"
    assert FORMATS["npy"].encode(samples, Look()).startswith(b"\x93NUMPY")


@pytest.mark.parametrize("classes", [1, 101])
def test_weights_have_2_to_100_classes(classes: int) -> None:
    with pytest.raises(InvalidWeights, match=f"it has {classes} classes, instead of 2 to 100"):
        generator_from_bytes(to_bytes(Generator(5, classes)))
    assert generator_from_bytes(to_bytes(Generator(5, 100))).classes == 100
    assert discriminator_from_bytes(to_bytes(Discriminator(200))).auxiliary.out_features == 200
