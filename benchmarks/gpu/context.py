"""The device, the training data, the clock and the file of results that every part uses."""

import gc
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch

from benchmarks.gpu.results import ResultLog
from models.config import DatasetName, TrainingConfig
from models.data.catalog import DATASETS
from models.data.dataset import Dataset, load_dataset
from models.torch_device import find_device
from models.training.fused.iteration import FusedIteration
from models.training.fused.kernels import TritonKernels
from models.training.iteration import Iteration
from models.training.trainer import Trainer

Measured = TypeVar("Measured")

TINY = {"batch_size": 4, "train_examples": 40, "test_examples": 20}  # for the rehearsal: nothing is learned


@dataclass
class PartContext:
    """The context of one part. `ends` is the time of time.monotonic() at which it should end."""

    out: Path
    log: ResultLog
    started: float
    ends: float
    tiny: bool
    failures: list[str] = field(default_factory=list)

    @cached_property
    def device(self) -> torch.device:
        return find_device("auto")

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def seconds_left(self) -> float:
        return self.ends - time.monotonic()

    # ----------------------------------------------------------------------------
    # Training.

    def config(self, **fields: Any) -> TrainingConfig:
        """Make a configuration for this machine's training data; in a rehearsal with the rehearsal's sizes."""
        sizes = TINY if self.tiny else {}
        return TrainingConfig(**{"dataset": dataset_name(), **fields, **sizes})

    def load_dataset(self, train_examples: int | None = None) -> Dataset:
        """Load MNIST, or printed digits if there is no MNIST; its first `train_examples` images, or all."""
        config = self.config(train_examples=train_examples)
        return load_dataset(config, data_dir(), self.out / "cache", [])

    def make_trainer(self, dataset: Dataset, kind: type[Iteration] | None = None, **fields: Any) -> Trainer:
        """Make a trainer; `kind` is the class of its iteration, by default the one that the trainer chooses."""
        if kind is None:
            return Trainer(self.config(**fields), dataset, self.device)
        with mock.patch.multiple("models.training.trainer", Iteration=kind, FusedIteration=kind):
            return Trainer(self.config(**fields), dataset, self.device)

    # ----------------------------------------------------------------------------
    # Measuring.

    def synchronize(self) -> None:
        """Wait until the device has computed everything that was launched."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def time_blocks(self, step: Callable[[], object], blocks: int, block: int) -> list[float]:
        """Return milliseconds per step, one figure for each block of `block` steps."""
        times = []
        for _ in range(blocks):
            self.synchronize()
            began = time.perf_counter()
            for _ in range(block):
                step()
            self.synchronize()
            times.append(1e3 * (time.perf_counter() - began) / block)
        return times

    def measure(self, name: str, function: Callable[[], Measured]) -> Measured | None:
        """Call the function and write a line with its result or its error, and the GPU memory that it needed.

        An error is recorded and printed, not raised.
        """
        self.reset_memory()
        began = time.perf_counter()
        try:
            value = function()
        except Exception as error:
            traceback.print_exc()
            self.failures.append(name)
            message = (str(error).splitlines() or [""])[0][:300]
            self.log.write(name, ok=False, error=f"{type(error).__name__}: {message}")
            return None
        seconds = round(time.perf_counter() - began, 2)
        self.log.write(name, ok=True, seconds=seconds, value=value, **self.gpu_memory())
        return value

    def reset_memory(self) -> None:
        if self.on_gpu:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def gpu_memory(self) -> dict[str, int]:
        """Return the peak memory of tensors, and the memory in use on the whole GPU with CUDA contexts, in MiB."""
        if not self.on_gpu:
            return {}
        free, total = torch.cuda.mem_get_info()
        return {"gpu_peak_mib": torch.cuda.max_memory_allocated() >> 20, "gpu_used_mib": (total - free) >> 20}

    def record_memory(self) -> None:
        self.log.write("memory at the end", **self.gpu_memory())


def data_dir() -> Path | None:
    """Return the folder that ACGAN_DATA_DIR names, if MNIST's four files are in it."""
    folder = Path(os.environ.get("ACGAN_DATA_DIR", ""))
    complete = all((folder / name).exists() or (folder / f"{name}.gz").exists() for name in DATASETS["mnist"].files)
    return folder if complete else None


def dataset_name() -> DatasetName:
    return "mnist" if data_dir() else "printed"


def run_eagerly(trainer: Trainer) -> None:
    """Make the trainer launch its kernels one by one instead of capturing a graph."""
    trainer.iterate = trainer.compute


def uses_triton(trainer: Trainer) -> bool:
    """Return whether the trainer's iterations use Triton kernels; without a C compiler they use torch's."""
    return isinstance(trainer.compute, FusedIteration) and isinstance(trainer.compute.kernels, TritonKernels)


def is_captured(trainer: Trainer) -> bool:
    """Return whether the trainer's iterations are replays of a CUDA graph, from the first one on."""
    launch = getattr(trainer.iterate, "launch", None)
    return isinstance(getattr(launch, "__self__", None), torch.cuda.CUDAGraph)
