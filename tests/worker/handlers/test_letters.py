"""A run on printed letters, 26 classes, and what its checkpoint is used for afterwards."""

import gzip
import math

import anyio
import numpy as np
import pytest
import torch

from app.inference.epoch_timeline import EpochTimeline
from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.data.catalog import LETTERS
from models.data.idx import read_idx
from models.evaluation import quality_gate
from models.networks.weights import generator_from_bytes
from models.registry.store import CheckpointId
from models.sampling.sampler import draw_digits, prepare
from models.synthesis.order import MANIFEST, DatasetManifest, DatasetOrder
from tests.conftest import small
from worker.jobs.client import Order
from worker.jobs.model import JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings

CPU = torch.device("cpu")


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, device="cpu")


@pytest.fixture
def checkpoint(settings: WorkerSettings) -> CheckpointId:
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(small("printed_letters", epochs=1)))).id
    run_next_job(settings)
    job = ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id))
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    return CheckpointId(job_id, 1)


def test_a_data_set_on_order_and_an_evolution_have_26_classes(
    settings: WorkerSettings, checkpoint: CheckpointId
) -> None:
    store = settings.open_store()
    manifest = store.manifest(checkpoint)
    assert manifest.class_names == LETTERS
    generator = prepare(generator_from_bytes(store.read(manifest, manifest.draws)), CPU)

    order = DatasetOrder(per_class=4, test_per_class=2, seed=3, checkpoint=str(checkpoint))
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(TrainingConfig(), dataset=order))).id
    run_next_job(settings)
    job = ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id))
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert job.progress
    assert (job.progress.batch, job.progress.batches) == (156, 156)
    made = DatasetManifest.model_validate_json(store.read_dataset(job_id, MANIFEST))
    assert made.classes == list(LETTERS)
    images = read_idx(gzip.decompress(store.read_dataset(job_id, "train-images-idx3-ubyte.gz")))
    assert np.array_equal(images[25::26], draw_digits(generator, 25, 4, 3))

    drawn = anyio.run(EpochTimeline(store, CPU).draw, [manifest], 25, 3, 0)
    assert np.array_equal(drawn, draw_digits(generator, 25, 1, 3))


@pytest.mark.parametrize("test_examples", [50, 1])
def test_a_run_of_too_few_images_has_the_figures_that_can_be_measured(
    settings: WorkerSettings, test_examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 50 training images, some letters have one or none: their variety is not defined. One test image has no
    covariance, from which the Frechet distance would follow."""
    monkeypatch.setattr(quality_gate, "FEW_DIGITS", 10)
    config = TrainingConfig(
        dataset="printed_letters", epochs=1, batch_size=10, train_examples=50, test_examples=test_examples
    )
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config))).id
    run_next_job(settings.model_copy(update={"judge": True}))
    job = ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id))
    assert (job.status, job.error, job.trouble) == (JobStatus.SUCCEEDED, None, None)
    (epoch,) = job.epochs
    manifest = settings.open_store().manifest(CheckpointId(job_id, 1))
    assert manifest.metrics == epoch.metrics
    assert manifest.refused == epoch.refused
    assert epoch.refused is not None
    assert epoch.refused.startswith("there are too few training images of C to measure how much its digits vary")
    assert all(map(math.isfinite, epoch.metrics.values()))
    assert {"label_accuracy", "label_accuracy_2", "variety", "variety_least", "variety_0", "variety_0_low"} <= set(
        epoch.metrics
    )
    varieties = [epoch.metrics[f"variety_{label}"] for label in range(26) if f"variety_{label}" in epoch.metrics]
    assert len(varieties) == 14
    assert epoch.metrics["variety"] == pytest.approx(sum(varieties) / 14, abs=1e-3)
    assert epoch.metrics["variety_least"] == min(varieties)
    assert epoch.metrics["variety_low"] <= epoch.metrics["variety"] <= epoch.metrics["variety_high"]
    assert not {"variety_2", "variety_2_low", "variety_2_high"} & set(epoch.metrics)
    assert ("frechet_distance" in epoch.metrics) == (test_examples > 1)
    assert ("frechet_distance_low" in epoch.metrics) == ("frechet_distance_raw" in epoch.metrics) == (test_examples > 1)
