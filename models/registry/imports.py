"""Publishes generators that were trained elsewhere: judged like the epochs of a run, under a new job id."""

import torch

from models.config import TrainingConfig
from models.data.dataset import Dataset
from models.evaluation.quality_gate import NOT_FINITE, QualityGate, Verdict, is_finite
from models.networks import weights
from models.networks.acgan import Discriminator, Generator
from models.registry.store import DISCRIMINATOR, GENERATOR, SAMPLES, CheckpointId, CheckpointStore, Manifest
from models.sampling.epoch_plot import epoch_plot
from models.sampling.png import encode_png
from models.torch_device import describe

UNKNOWN = "unknown"  # checksum of training data that is not at hand


class Importer:
    """Judges and publishes the epochs of one job on one device."""

    def __init__(
        self,
        store: CheckpointStore,
        job: str,
        config: TrainingConfig,
        device: torch.device,
        gate: QualityGate | None,
        dataset: Dataset | None,
    ) -> None:
        """Without a `gate` only finite weights are required. Without the `dataset`, plots have no real digits."""
        self.store = store
        self.job = job
        self.config = config
        self.device = device
        self.gate = gate
        self.dataset = dataset

    def judge(self, generator: Generator) -> Verdict:
        if self.gate is not None:
            return self.gate.verdict(generator.to(self.device))
        return Verdict(False, {}, None if is_finite(generator) else NOT_FINITE)

    def publish(
        self, epoch: int, generator: Generator, verdict: Verdict, discriminator: Discriminator | None = None
    ) -> Manifest:
        """Publish a judged generator, also one that is not to be served. Raises the errors of the store's `publish`."""
        manifest = Manifest.for_epoch(
            CheckpointId(self.job, epoch),
            self.config,
            self.dataset.checksum if self.dataset else UNKNOWN,
            describe(self.device),
            losses=None,
            metrics=verdict.metrics,
            refused=verdict.refused,
            classes=self.dataset.classes if self.dataset else self.store.training_data.classes_of(self.config.dataset),
        )
        plot = epoch_plot(generator.to(self.device).eval(), self.dataset, epoch, self.config.seed)
        files = {GENERATOR: weights.to_bytes(generator), SAMPLES: encode_png(plot)}
        if discriminator is not None:
            files[DISCRIMINATOR] = weights.to_bytes(discriminator)
        return self.store.publish(manifest, files)
