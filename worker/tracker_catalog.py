"""The table of experiment trackers that can receive the figures of a training. A new one is a new row.

Loads no library of a tracker: these are in the extra `tracking`.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from models.errors import Unavailable


class TrackerMissing(Unavailable, code="tracker-missing"):
    """The library of a tracker is not installed."""


class TrackerEntry(NamedTuple):
    library: str  # the module that must be installed
    module: str  # of ours, which uses the library
    kind: str  # the class in it


TRACKERS = {
    "tensorboard": TrackerEntry("tensorboard", "worker.tracking.tensorboard_tracker", "TensorBoardTracker"),
    "mlflow": TrackerEntry("mlflow", "worker.tracking.mlflow_tracker", "MlflowTracker"),
}


DATABRICKS = "databricks"  # a name of MLflow, not of a folder


def read_trackers(text: str) -> list[str]:
    """Parse names that are separated by spaces or commas. Returns each once. Raises ValueError for an unknown name."""
    names = list(dict.fromkeys(text.replace(",", " ").split()))
    if not TRACKERS.keys() >= set(names):
        raise ValueError(f"should be names of trackers ({' or '.join(TRACKERS)})")
    return names


def absolute_address(address: str) -> str:
    """Return an address of MLflow. That of a folder becomes independent of the working directory."""
    scheme, colon, path = address.partition(":")
    if address == DATABRICKS or (colon and (scheme != "file" or path.startswith("//"))):
        return address
    return Path(unquote(path) if colon else address).absolute().as_uri()


def require_libraries(names: list[str]) -> None:
    """Raise TrackerMissing if the library of one of these trackers is not installed. Loads none of them."""
    for name in names:
        if find_spec(TRACKERS[name].library) is None:
            raise TrackerMissing(
                f"the tracker {name} needs a library that is not installed: pip install 'acgan[tracking]'"
            )


def load_tracker(name: str) -> Any:
    """Import the class of a tracker. Raises ImportError if its library cannot be loaded."""
    entry = TRACKERS[name]
    return getattr(import_module(entry.module), entry.kind)
