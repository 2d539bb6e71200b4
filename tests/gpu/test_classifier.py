"""The training of judges and students on a GPU: in CUDA graphs, and kernel by kernel."""

from pathlib import Path

import pytest
import torch

from models.config import TrainingConfig
from models.data.dataset import Dataset, load_dataset
from models.evaluation.classifier import Classifier, ClassifierTraining
from models.torch_device import find_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="a CPU has no CUDA graphs"),
]


@pytest.fixture(scope="module")
def printed() -> Dataset:
    """Two batches and a half, on the GPU."""
    config = TrainingConfig(dataset="printed", train_examples=250, test_examples=10)
    return load_dataset(config, None, Path("nowhere"), []).to(find_device("cuda"))


def make_training(printed: Dataset, augment: bool) -> ClassifierTraining:
    images, labels = printed.train_images, printed.train_labels
    return ClassifierTraining(Classifier(), images, labels, seed=1, epochs=3, batch=100, augment=augment)


@pytest.mark.parametrize("augment", [True, False])
def test_graphs_train_a_classifier_like_single_kernels(
    printed: Dataset, augment: bool, caplog: pytest.LogCaptureFixture
) -> None:
    captured, eager = make_training(printed, augment), make_training(printed, augment)
    assert captured.uses_graphs
    eager.uses_graphs = False
    for _ in range(3):
        captured.train_epoch()
        eager.train_epoch()
    assert set(captured.graphs) == {100, 50}
    assert "capture failed" not in caplog.text
    expected = eager.classifier.state_dict()
    for name, tensor in captured.classifier.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_the_steps_of_a_captured_epoch_do_not_wait_for_the_gpu(printed: Dataset) -> None:
    training = make_training(printed, augment=True)
    training.train_epoch()
    batches = training.draw_batches()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            training.step(*batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
