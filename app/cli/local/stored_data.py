"""Training data that a user brought, in the store of the settings. The store is opened only if such data are needed."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.local.folder import HISTORY, HISTORY_LIMIT, STATE, STATE_LIMIT
from models.bounded_reading import FileFault, read_bounded
from models.config import TrainingConfig
from models.data.catalog import DATASETS
from models.data.reference import Reference
from models.networks.safetensors_header import read_header
from worker.settings import WorkerSettings

if TYPE_CHECKING:  # takes a while to load
    from models.data.dataset import ReadStored


def reader(settings: WorkerSettings) -> "ReadStored":
    """Return a function that reads a data set from the store. It raises TrainingDataNotFound and OSError."""
    return lambda dataset: settings.open_store().training_data.read_stored(dataset)


def as_begun(config: TrainingConfig, out: Path) -> TrainingConfig:
    """Return the config with the version of the training data with which the run in the folder began.

    So a resumed run keeps its images, although a newer version exists. If the files of the run do not have it, the
    config is returned as it is.
    """
    for begun in (dataset_of_state(out / STATE), dataset_of_history(out / HISTORY)):
        if begun is not None and Reference.parse(config.dataset).means(begun):
            return config.model_copy(update={"dataset": begun})
    return config


def dataset_of_state(file: Path) -> str | None:
    with suppress(FileFault, KeyError, TypeError, ValueError):
        about = read_header(read_bounded(file, STATE_LIMIT), str(file)).metadata
        return str(json.loads(about["config"])["dataset"])
    return None


def dataset_of_history(file: Path) -> str | None:
    with suppress(FileFault, KeyError, TypeError, ValueError):
        return str(json.loads(read_bounded(file, HISTORY_LIMIT))["config"]["dataset"])
    return None


def settled(config: TrainingConfig, settings: WorkerSettings) -> TrainingConfig:
    """Return the config with the version of its training data. Raises TrainingDataNotFound, OSError."""
    return config if config.dataset in DATASETS else settings.open_store().training_data.settled(config)
