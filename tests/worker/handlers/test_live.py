"""A run that shows its losses and digits ends with the same bits as one that does not."""

import pytest
import torch

from models.config import TrainingConfig
from models.networks.acgan import Generator
from models.records import Loss
from models.registry.store import CheckpointId
from models.sampling.live_sample import LONGEST, draw_live_sample, encode_small
from models.sampling.png import PNG_SIGNATURE
from models.training.recipes import RECIPES
from tests.worker.handlers.test_training import accept, read_job
from worker.handlers import live_report
from worker.handlers.live_report import LossWindow
from worker.jobs.consumer import Claim
from worker.jobs.live import LiveWriter, RecentLosses, Sample
from worker.runner import run_next_job
from worker.settings import WorkerSettings

Added = list[tuple[RecentLosses | None, Sample | None]]


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Added:
    """Make entries due at each report, and return those that are added."""
    monkeypatch.setattr(live_report, "LOSSES_SECONDS", 0.0)
    monkeypatch.setattr(live_report, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)
    entries: Added = []
    add = LiveWriter.add

    def record(self: LiveWriter, claim: Claim, losses: RecentLosses | None, sample: Sample | None) -> int:
        entries.append((losses, sample))
        return add(self, claim, losses, sample)

    monkeypatch.setattr(LiveWriter, "add", record)
    return entries


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_bits_are_those_of_a_run_that_shows_nothing(
    redis_url: str, config: TrainingConfig, added: Added, recipe: str
) -> None:
    weights = []
    for shows in (True, False):
        settings = WorkerSettings(redis_url=redis_url, live=shows)
        job_id = accept(settings, config.model_copy(update={"recipe": recipe, "epochs": 2}))
        run_next_job(settings)
        job = read_job(settings, job_id)
        assert job.status == "succeeded", job.error
        assert job.progress
        store = settings.open_store()
        manifests = [store.manifest(CheckpointId(job_id, epoch)) for epoch in (1, 2)]
        weights.append([store.read(each, name) for each in manifests for name in sorted(each.files)])
        assert bool(added) == shows
        if shows:
            assert all(sample and len(sample.png) <= LONGEST for _, sample in added)
            assert {losses.epoch for losses, _ in added if losses} == {1, 2}
            assert job.progress.live == len(added)
        else:
            assert job.progress.live is None
        assert job.progress.phase == "saving"
        added.clear()
    assert weights[0] == weights[1]


def test_drawing_changes_neither_generator_nor_random_numbers() -> None:
    generator = Generator(100).train()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    picture = draw_live_sample(generator, 7, torch.autocast("cpu", enabled=False))
    assert picture.shape == (28, 280)
    assert torch.equal(torch.rand(2), expected)
    assert generator.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    assert (picture == draw_live_sample(generator, 7, torch.autocast("cpu", enabled=False))).all()


def test_noise_fits_into_four_kilobytes() -> None:
    noise = torch.randint(256, (28, 280), generator=torch.Generator().manual_seed(1), dtype=torch.uint8).numpy()
    png = encode_small(noise)
    assert png.startswith(PNG_SIGNATURE)
    assert len(png) <= LONGEST


def loss(value: float) -> Loss:
    return Loss(loss=value, generation_loss=value, auxiliary_loss=0.0)


def test_a_window_covers_the_iterations_since_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_report, "LOSSES_SECONDS", 0.0)
    window = LossWindow(1, 0)
    window.add(1, 2, loss(3.0), loss(1.0))
    assert window.take() == (2, loss(3.0), loss(1.0))
    window.add(1, 4, loss(2.0), loss(1.5))  # means of the whole epoch: the last two had 1 and 2
    assert window.take() == (2, loss(1.0), loss(2.0))
    window.add(1, 4, loss(2.0), loss(1.5))
    assert window.take() is None
    window.add(2, 1, loss(5.0), loss(4.0))
    assert window.take() == (1, loss(5.0), loss(4.0))


def test_a_window_lasts_a_second_also_across_epochs() -> None:
    window = LossWindow(1, 0)
    window.add(1, 2, loss(3.0), loss(1.0))
    window.add(2, 2, loss(1.0), loss(3.0))
    assert window.take() is None
    window.began -= live_report.LOSSES_SECONDS
    assert window.take() == (4, loss(2.0), loss(2.0))


def test_a_resumed_run_shows_only_iterations_whose_losses_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_report, "LOSSES_SECONDS", 0.0)
    window = LossWindow(3, 10)
    window.add(3, 12, loss(1.0), loss(1.0))
    assert window.take() is None
    window.add(3, 14, loss(1.0), loss(1.0))
    assert window.take() == (2, loss(1.0), loss(1.0))
