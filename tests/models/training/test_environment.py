"""A resumed run uses its original number of threads, and reports everything else that has changed."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from models.config import TrainingConfig
from models.data.dataset import Dataset
from models.training import training_state
from models.training.environment import OF_A_STATE_WITHOUT, START_THREADS, ComputeEnvironment, reset_threads
from models.training.trainer import Trainer
from models.training.training_state import State

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    reset_threads()


@pytest.fixture
def state(config: TrainingConfig, dataset: Dataset) -> State:
    return Trainer(config, dataset, CPU).state()


def resumed(config: TrainingConfig, dataset: Dataset, state: State) -> Trainer:
    trainer = Trainer(config, dataset, CPU)
    trainer.load_state(training_state.from_bytes(training_state.to_bytes(state)))
    return trainer


def test_a_run_is_resumed_with_its_original_number_of_threads(
    config: TrainingConfig, dataset: Dataset, state: State
) -> None:
    assert state.environment
    torch.set_num_threads(START_THREADS + 2)
    trainer = resumed(config, dataset, state)
    assert torch.get_num_threads() == state.environment.threads == START_THREADS
    assert trainer.warnings == []
    torch.set_num_threads(START_THREADS + 2)
    reset_threads()
    assert torch.get_num_threads() == START_THREADS


@pytest.mark.parametrize(
    ("name", "value"),
    [("torch_version", "1.0"), ("cpu", "AVX1024"), ("code", "0.0.1"), ("build", "x"), ("device", "cuda:0 (H)")],
)
def test_a_changed_environment_is_reported_once_and_stays_recorded(
    config: TrainingConfig, dataset: Dataset, state: State, name: str, value: str
) -> None:
    assert state.environment
    began = replace(state, environment=state.environment.model_copy(update={name: value}))
    trainer = resumed(config, dataset, began)
    (warning,) = trainer.warnings
    assert "may differ from an uninterrupted run" in warning
    assert value in warning
    again = resumed(config, dataset, trainer.state())
    assert again.warnings == [warning]
    assert again.environment == began.environment


def test_a_state_of_an_older_version_has_no_environment(config: TrainingConfig, dataset: Dataset, state: State) -> None:
    assert resumed(config, dataset, replace(state, environment=None)).warnings == [OF_A_STATE_WITHOUT]


@pytest.mark.parametrize("known", [True, False], ids=["with environment", "without"])
def test_another_precision_is_reported_once_and_changes_no_tensor(
    config: TrainingConfig, dataset: Dataset, state: State, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """As on a processor that does not multiply bf16, for a run that a GPU has begun in bf16."""
    monkeypatch.setattr("models.networks.precision._cpu_multiplies_bf16", lambda: False)
    bf16 = state.config.model_copy(update={"precision": "bf16"})
    began = replace(state, config=bf16, environment=state.environment if known else None)
    trainer = resumed(config, dataset, began)
    assert trainer.precision == "fp32"
    warning, *others = trainer.warnings
    assert "another precision" in warning
    assert "(fp32, not bf16)" in warning
    assert others == ([] if known else [OF_A_STATE_WITHOUT])
    for name, tensor in trainer.tensors().items():
        assert torch.equal(tensor, state.tensors[name]), name
    again = resumed(config, dataset, trainer.state())
    assert again.warnings[:1] == [warning]
    assert len([text for text in again.warnings if "precision" in text]) == 1


def test_another_gpu_of_the_same_model_is_the_same_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation's kept steps belong to an equal environment; an earlier version recorded the index of the GPU."""
    names = ["H100", "H100", "A100"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index or 0])
    first, second, other = (ComputeEnvironment.current(torch.device("cuda", index)) for index in range(3))
    assert first == second == ComputeEnvironment.current(torch.device("cuda"))
    assert first.device == "cuda (H100)"
    recorded = first.model_copy(update={"device": "cuda:1 (H100)"})
    assert recorded.differences(first) == first.differences(recorded) == []
    for began in (first, recorded):
        (warning,) = began.differences(other)
        assert f"another device than it began with (cuda (A100), not {began.device})" in warning
