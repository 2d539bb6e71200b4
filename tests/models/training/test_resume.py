"""A resumed run equals an undisturbed one: the same weights, moments and losses, to the bit, after any stop."""

import dataclasses
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.config import DatasetName, RecipeName, TrainingConfig
from models.data.dataset import Dataset
from models.records import EpochLosses
from models.registry.store import RESUME, CheckpointDamaged, CheckpointStore
from models.training import training_state
from models.training.trainer import Trainer
from models.training.training_state import InvalidState, Position
from tests.conftest import BF16, DATA_DIR, NEEDS_BF16, small
from tests.support.resumable_run import JOB, Run

CPU = torch.device("cpu")
MEMORY = Path("/dev/shm")  # noqa: S108
POSITIONS = [f"{epoch} {iteration}" for epoch in (1, 2) for iteration in (2, 4, 6)]  # when states are saved


class Stopped(Exception):
    pass


def run_with_stops(config: TrainingConfig, dataset: Dataset, stops: set[int]) -> tuple[list[EpochLosses], Trainer]:
    """Stop after the checks that `stops` counts, each time continuing in a new trainer from the state as bytes."""
    losses: list[EpochLosses] = []
    trainer, checks = Trainer(config, dataset, CPU), 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks in stops:
            raise Stopped

    while True:
        try:
            losses += [result.losses for result in trainer.run(check=check)]
            return losses, trainer
        except Stopped:
            losses = losses[: trainer.epoch - 1]
            state = training_state.to_bytes(trainer.state())
            torch.manual_seed(checks)  # a new process would have drawn other numbers before
            trainer = Trainer(config, dataset, CPU)
            trainer.load_state(training_state.from_bytes(state))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("precision", ["fp32", BF16])
def test_a_run_stopped_anywhere_equals_the_undisturbed_run(
    dataset_name: DatasetName, dataset: Dataset, precision: str
) -> None:
    check_stops(small(dataset_name, epochs=3, precision=precision), dataset)


@pytest.mark.parametrize("recipe", ["sharp", "thorough"])
def test_a_stopped_run_of_another_recipe_equals_the_undisturbed_run(
    dataset_name: DatasetName, dataset: Dataset, recipe: RecipeName
) -> None:
    check_stops(small(dataset_name, epochs=3, recipe=recipe, precision="fp32"), dataset)


@pytest.mark.parametrize(
    ("recipe", "epoch", "iteration", "warning"),
    [
        ("sharp", 2, 2, None),
        ("sharp", 4, 0, None),
        ("sharp", 4, 2, "epoch 4: trained with the learning rates of a run of 5 epochs, not of 10"),
        ("sharp", 5, 2, "epochs 4 to 5: trained with the learning rates of a run of 5 epochs, not of 10"),
        ("seed", 5, 2, None),
    ],
)
def test_a_run_whose_length_changed_after_its_rate_began_to_fall_has_a_warning(
    dataset_name: DatasetName, dataset: Dataset, recipe: RecipeName, epoch: int, iteration: int, warning: str | None
) -> None:
    trainer, longer = (Trainer(small(dataset_name, epochs=n, recipe=recipe), dataset, CPU) for n in (5, 10))
    position = Position(epoch=epoch, iteration=iteration, seconds=1.0)
    state = dataclasses.replace(trainer.state(), position=position)
    longer.load_state(state)
    assert longer.warnings == ([warning] if warning else [])
    trainer.load_state(state)
    assert trainer.warnings == []


def check_stops(config: TrainingConfig, dataset: Dataset) -> None:
    expected_losses, expected = run_with_stops(config, dataset, set())
    # An epoch makes three checks while it trains and two while it is evaluated.
    losses, trainer = run_with_stops(config, dataset, {1, 3, 4, 8, 12, 14, 17})
    assert losses[-1] == expected_losses[-1]
    tensors = trainer.tensors()
    # Loss sums, networks, step and two moments a parameter, the generator's average.
    assert len(tensors) == 2 + (19 + 12) + 3 * (13 + 12) + 13
    for name, tensor in expected.tensors().items():
        assert torch.equal(tensors[name], tensor), name


def test_the_state_after_a_finished_run_has_everything_but_the_moments(
    dataset_name: DatasetName, dataset: Dataset
) -> None:
    config = small(dataset_name, epochs=1, precision="fp32")
    trainer = Trainer(config, dataset, CPU)
    list(trainer.run())
    expected = trainer.state()
    state = Trainer(config, dataset, CPU).state_after(
        1, trainer.generator, trainer.discriminator, trainer.averaged_generator()
    )
    assert (state.position, state.config) == (expected.position, expected.config)
    assert state.tensors.keys() == expected.tensors.keys()
    for name, tensor in state.tensors.items():
        if "_adam." in name:
            assert not tensor.any(), name
        else:
            torch.testing.assert_close(tensor, expected.tensors[name], msg=name)


def test_later_training_does_not_change_a_state(config: TrainingConfig, dataset: Dataset) -> None:
    trainer = Trainer(config, dataset, CPU)
    before = trainer.state()
    weight = before.tensors["generator.dense.weight"].clone()
    next(iter(trainer.run()))
    assert torch.equal(before.tensors["generator.dense.weight"], weight)
    assert not torch.equal(trainer.generator.dense.weight, weight)
    assert (trainer.epoch, trainer.iteration) == (2, 0)


def test_another_runs_state_is_refused(dataset_name: DatasetName, dataset: Dataset) -> None:
    state = Trainer(small(dataset_name), dataset, CPU).state()
    Trainer(small(dataset_name, epochs=9, name="longer"), dataset, CPU).load_state(state)
    with pytest.raises(InvalidState, match="another recipe"):
        Trainer(small(dataset_name, seed=2), dataset, CPU).load_state(state)
    thorough = Trainer(small(dataset_name, recipe="thorough"), dataset, CPU).state()
    with pytest.raises(InvalidState, match="another recipe"):
        Trainer(small(dataset_name, recipe="sharp"), dataset, CPU).load_state(thorough)
    other = Dataset(dataset_name, 255 - dataset.train_images, *list(vars(dataset).values())[2:5])
    with pytest.raises(InvalidState, match="other data"):
        Trainer(small(dataset_name), other, CPU).load_state(state)
    for data in (b"", b"\x80\x04", training_state.to_bytes(state)[:-1]):
        with pytest.raises(InvalidState):
            training_state.from_bytes(data)


def test_an_interrupted_save_keeps_the_state_before(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    assert store.load_state(JOB) is None
    store.save_state(JOB, b"first")
    store.save_state(JOB, b"second")
    assert store.load_state(JOB) == b"second"
    assert len(list((tmp_path / JOB).glob("resume-*"))) == 1
    state = next((tmp_path / JOB).glob("resume-*"))
    state.write_bytes(b"secont")
    with pytest.raises(CheckpointDamaged, match="checksum"):
        store.load_state(JOB)
    (tmp_path / JOB / RESUME).write_text("{")
    with pytest.raises(CheckpointDamaged):
        store.load_state(JOB)
    store.drop_state(JOB)
    assert not (tmp_path / JOB).exists()


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if there is one: each state is 60 MB, and the disk is not tested."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=[NEEDS_BF16, pytest.mark.long])])
def test_a_run_killed_a_few_times_equals_the_undisturbed_run(
    dataset_name: DatasetName, in_memory: Path, precision: str
) -> None:
    """Each kill hits a process that has saved a state, at most 0.3 s later, and at least an epoch before the end."""
    config = small(dataset_name, epochs=3, train_examples=36, precision=precision)
    with start_run(config, in_memory / "straight") as run:
        expected = run.lines()[-1]
    seed = random.randrange(10**6)
    moments, folder = random.Random(seed), in_memory / "killed"
    for number, position in enumerate(sorted(moments.sample(POSITIONS, 4))):
        with start_run(config, folder, last=(3, 6)) as run:
            lines = run.lines_until(f"kept {position}")
            assert lines[0].startswith("resumed" if number else "kept")
            time.sleep(moments.uniform(0, 0.3))  # two iterations and a saved state
            run.process.kill()
            assert "done" not in " ".join(run.lines()), f"the run ended before kill {number} of seed {seed}"
        assert run.process.exitcode == -signal.SIGKILL
    with start_run(config, folder) as run:
        resumed, *_, done = run.lines()
    assert resumed.startswith("resumed")
    assert done == expected, f"kill moments of seed {seed}"


def start_run(config: TrainingConfig, folder: Path, last: tuple[int, int] | None = None) -> Run:
    return Run(folder, config, Path(DATA_DIR).resolve() if config.dataset == "mnist" and DATA_DIR else None, last)
