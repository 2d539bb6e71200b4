"""Training data that a user brought, in the store of the settings. The store is opened only if such data are needed."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    So a resumed run keeps its images, although a newer version exists. Built-in data have no versions. If the files of
    the run do not have the version, the config is returned as it is.
    """
    if config.dataset in DATASETS:
        return config
    for recorded in (config_of_state, config_of_history):
        with suppress(FileFault, KeyError, TypeError, ValueError):
            begun = str(recorded(out)["dataset"])
            if Reference.parse(config.dataset).means(begun):
                return config.model_copy(update={"dataset": begun})
    return config


def config_of_state(out: Path) -> Any:
    file = out / STATE
    return json.loads(read_header(read_bounded(file, STATE_LIMIT), str(file)).metadata["config"])


def config_of_history(out: Path) -> Any:
    return json.loads(read_bounded(out / HISTORY, HISTORY_LIMIT))["config"]


def settled(config: TrainingConfig, settings: WorkerSettings) -> TrainingConfig:
    """Return the config with the version of its training data. Raises TrainingDataNotFound, OSError."""
    return config if config.dataset in DATASETS else settings.open_store().training_data.settled(config)


def settled_for_run(config: TrainingConfig, settings: WorkerSettings) -> TrainingConfig:
    """Return the config of a run as `settled` does. Raises TooFewImages if its training data do not fill a batch."""
    return config if config.dataset in DATASETS else settings.open_store().training_data.settled_for_run(config)
