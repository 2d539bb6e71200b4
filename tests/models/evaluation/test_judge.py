import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from models.config import TrainingConfig
from models.data.dataset import Dataset, load_dataset, to_unit_range
from models.data.distortion import warp
from models.evaluation import classifier, judge
from models.evaluation.classifier import PEAK_LR, Classifier, ClassifierTraining, Role, accuracy, initialize, look
from models.evaluation.judge import bundled_judge, find_judge, from_bytes, stored_judge, to_bytes, with_real
from models.networks.precision import autocast, settle_precision

CPU = torch.device("cpu")
JUDGES = Path(judge.__file__).parents[1] / "judges"


def test_the_bundled_judges_are_small_and_good() -> None:
    assert sum(file.stat().st_size for file in JUDGES.glob("*")) < 1_000_000
    reporting = bundled_judge("mnist", "reporting")
    choosing = bundled_judge("mnist", "choosing")
    assert reporting
    assert choosing
    assert reporting.accuracy >= 0.995
    assert choosing.accuracy >= 0.994
    names = [set(each.classifier.state_dict()) for each in (reporting, choosing)]
    assert names[0] != names[1], "the two should not be alike"


@pytest.mark.long
@pytest.mark.skipif("ACGAN_DATA_DIR" not in os.environ, reason="real MNIST is not here")
@pytest.mark.parametrize("role", ["reporting", "choosing"])
def test_the_accuracies_in_their_files_are_true(role: Role) -> None:
    data = load_dataset(TrainingConfig(), Path(os.environ["ACGAN_DATA_DIR"]), Path("nowhere"), [])
    found = bundled_judge("mnist", role)
    assert found
    again = with_real(found.classifier, role, data)
    assert again.accuracy == pytest.approx(found.accuracy, abs=2e-4)
    torch.testing.assert_close(again.real.covariance, found.real.covariance, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(again.distances, found.distances, rtol=1e-3, atol=1e-4)


def test_an_invalid_judge_file_counts_as_missing(tmp_path: Path) -> None:
    for path, data in ((tmp_path / "torn", b"{"), (tmp_path / "sparse", b"")):
        path.write_bytes(data)
    os.truncate(tmp_path / "sparse", 6 << 30)
    assert stored_judge(tmp_path / "torn", "reporting") is None
    assert stored_judge(tmp_path / "sparse", "reporting") is None
    assert stored_judge(JUDGES / "mnist-reporting.safetensors", "reporting") is not None


@pytest.fixture(scope="module")
def printed() -> Dataset:
    config = TrainingConfig(dataset="printed", train_examples=1000, test_examples=300)
    return load_dataset(config, None, Path("nowhere"), [])


def test_training_a_judge_is_deterministic(printed: Dataset) -> None:
    students = [
        classifier.train(Classifier("choosing"), printed.train_images, printed.train_labels, seed=1, epochs=4, batch=20)
        for _ in range(2)
    ]
    assert accuracy(students[0], printed.test_images, printed.test_labels) > 0.9
    for mine, other in zip(students[0].parameters(), students[1].parameters(), strict=True):
        assert torch.equal(mine, other)


def train_plainly(data: Dataset, epochs: int, batch: int, augment: bool) -> Classifier:
    """The training recipe as PyTorch's documentation would write it."""
    student, draws, n = Classifier("choosing"), torch.Generator().manual_seed(5), len(data.train_labels)
    initialize(student, 5)
    student.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    adam = torch.optim.AdamW(student.parameters(), lr=PEAK_LR, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, PEAK_LR, total_steps=epochs * -(-n // batch), pct_start=0.2)
    for _ in range(epochs):
        order = torch.randperm(n, generator=draws).split(batch)
        distortions = [torch.rand(6, len(part), generator=draws) * 2 - 1 for part in order] if augment else []
        for number, part in enumerate(order):
            images = to_unit_range(data.train_images[part])
            images = warp(images, distortions[number]) if augment else images
            with autocast(settle_precision("auto", CPU), CPU):
                _, logits = student(images.contiguous(memory_format=torch.channels_last))
            adam.zero_grad()
            F.cross_entropy(logits.float(), data.train_labels[part].long()).backward()
            adam.step()
            schedule.step()
    return student


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("graphs", [True, False])
def test_training_in_graphs_is_plain_training_bit_for_bit(printed: Dataset, graphs: bool, augment: bool) -> None:
    """On a CPU a graph's function runs uncaptured, over the graph's buffers. The last batch of an epoch is shorter."""
    pixels, labels = printed.train_images, printed.train_labels
    training = ClassifierTraining(Classifier("choosing"), pixels, labels, 5, epochs=2, batch=60, augment=augment)
    training.uses_graphs = graphs
    training.train_epoch()
    training.train_epoch()
    assert set(training.graphs) == ({60, 40} if graphs else set())
    expected = train_plainly(printed, 2, 60, augment).state_dict()
    for name, tensor in training.classifier.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_judge_that_is_not_bundled_is_trained_once(
    printed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    first = find_judge(printed, "reporting", tmp_path, CPU)
    (file,) = tmp_path.iterdir()
    kept, written = file.read_bytes(), file.stat().st_mtime_ns
    again = find_judge(printed, "reporting", tmp_path, CPU)
    assert file.stat().st_mtime_ns == written
    assert to_bytes(again) == to_bytes(first) == kept
    seen = [look(found.classifier, printed.test_images).features for found in (first, again)]
    assert torch.equal(*seen), "the process that trains a judge must compute the same figures as those that read it"
    assert torch.equal(first.real.covariance, again.real.covariance)
    file.write_bytes(kept[:1000])
    assert to_bytes(find_judge(printed, "reporting", tmp_path, CPU)) == kept


def test_the_training_of_a_judge_can_be_stopped_at_each_batch(
    printed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is training a judge must show progress, and stop if its job is cancelled."""
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    calls = list[int]()

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        find_judge(printed, "reporting", tmp_path, CPU, check)
    assert list(tmp_path.iterdir()) == []
    find_judge(printed, "reporting", tmp_path, CPU, check)
    # Its training; then 300 and 1,000 digits, in batches of 500; then the distances in each of ten classes.
    assert len(calls) == 3 + 10 + 1 + 2 + 10


def test_a_judge_is_restored_from_its_bytes() -> None:
    found = bundled_judge("printed", "choosing")
    assert found
    again = from_bytes(to_bytes(found), "choosing")
    images = torch.randint(256, (5, 28, 28), dtype=torch.uint8)
    for mine, other in zip(
        found.classifier(to_unit_range(images)), again.classifier(to_unit_range(images)), strict=True
    ):
        assert torch.equal(mine, other)
    assert again.accuracy == found.accuracy


def test_warping_moves_ink_and_keeps_the_background() -> None:
    images = torch.full((50, 1, 28, 28), -1.0)
    images[:, :, 10:18, 10:18] = 1.0
    warped = warp(images, torch.rand(6, 50, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    assert (warped[:, :, 0] == -1).all()
    assert warped.min() >= -1
    assert warped.max() <= 1.00001
    ink = (warped + 1).sum((1, 2, 3)) / (images + 1).sum((1, 2, 3))
    assert 0.6 < ink.min() < ink.max() < 1.7
    assert len({tuple(image.flatten().tolist()) for image in warped}) == 50
