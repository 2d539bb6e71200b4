"""Training data that a user brought, in the store of the settings. The store is opened only if such data are needed."""

from typing import TYPE_CHECKING

from models.config import TrainingConfig
from models.data.catalog import DATASETS
from worker.settings import WorkerSettings

if TYPE_CHECKING:  # takes a while to load
    from models.data.dataset import ReadStored


def reader(settings: WorkerSettings) -> "ReadStored":
    """Return a function that reads a data set from the store. It raises TrainingDataNotFound and OSError."""
    return lambda dataset: settings.open_store().training_data.read_stored(dataset)


def settled(config: TrainingConfig, settings: WorkerSettings) -> TrainingConfig:
    """Return the config with the version of its training data. Raises TrainingDataNotFound, OSError."""
    return config if config.dataset in DATASETS else settings.open_store().training_data.settled(config)
