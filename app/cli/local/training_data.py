"""Training data in the store of the settings, for `acgan training-data`: adds, describes and removes it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from app.schemas.training_data import TrainingDataList, TrainingDataView
from app.server.embedded_redis import embedded_url
from app.settings import AppSettings
from models.data.building.build import build
from models.data.building.built import Built
from models.data.building.chunks import remove_chunks
from models.data.building.options import ImportOptions
from models.data.catalog import DATASETS
from models.data.reference import Reference
from models.errors import Conflict
from models.registry.training_data import TrainingDataManifest, preview
from worker.jobs.errors import StoreUnavailable
from worker.jobs.listing import users_of_training_data
from worker.jobs.redis_client import connect_client

IMPORTS = "imports"  # in the home: decoded images of imports that were not completed


class TrainingDataInUse(Conflict, code="training-data-in-use"):
    """A job that has not ended needs the training data."""


class Removed(NamedTuple):
    references: list[Reference]
    is_checked: bool  # whether Redis responded, so that jobs that need the data were found


def build_here(
    settings: AppSettings,
    path: Path,
    options: ImportOptions,
    labels: Path | None,
    progress: Callable[[int, int | None], None],
) -> Built:
    """Build training data in the home. Raises the errors of `build`."""
    settings.protect_home()
    return build(path, options, settings.home / IMPORTS, progress, labels=labels)


def store_here(settings: AppSettings, name: str, built: Built) -> tuple[TrainingDataManifest, bool]:
    """Store what was built, and delete its decoded images. Raises the errors of `TrainingDataStore.publish`."""
    manifest, is_new = settings.open_store().training_data.publish(name, built, preview(built))
    remove_chunks(built.chunks)
    return manifest, is_new


def describe_all(settings: AppSettings) -> TrainingDataList:
    """Describe the built-in sets, then the newest version of each set in the store. Raises OSError."""
    store = settings.open_store()
    known, trained = store.training_data.references(), store.manifests()
    newest = {each.name: each for each in known}  # sorted: the last of a name is its newest version
    views = [TrainingDataView.of_built_in(name, trained) for name in DATASETS]
    for found in store.training_data.manifests():
        if found.reference in newest.values():
            asked = Reference(found.name)
            views.append(TrainingDataView.of_brought(asked, found, versions_of(known, found.name), trained))
    return TrainingDataList(training_data=views)


def describe(settings: AppSettings, dataset: str) -> TrainingDataView:
    """Describe one data set. Raises TrainingDataNotFound, FileInvalid, OSError."""
    store = settings.open_store()
    trained = store.manifests()
    if dataset in DATASETS:
        return TrainingDataView.of_built_in(dataset, trained)
    found = store.training_data.manifest(store.training_data.find(dataset))
    versions = versions_of(store.training_data.references(), found.name)
    return TrainingDataView.of_brought(Reference.parse(dataset), found, versions, trained)


def versions_of(known: list[Reference], name: str) -> list[int]:
    return [each.version for each in known if each.name == name and each.version is not None]


def remove_here(settings: AppSettings, dataset: str) -> Removed:
    """Remove all versions of a name, or the one that it names. If a job needs one of them, none is removed.

    Raises TrainingDataInUse, InvalidName, NameReserved, TrainingDataNotFound, OSError.
    """
    data = settings.open_store().training_data
    versions = data.versions(dataset)
    is_checked = check_unused(settings, versions)
    for reference in versions:
        data.remove(reference)
    return Removed(versions, is_checked)


def check_unused(settings: AppSettings, versions: list[Reference]) -> bool:
    """Raise TrainingDataInUse if a job that has not ended needs a version. Returns False if Redis does not respond."""
    client = connect_client(redis_url(settings))
    try:
        for reference in versions:
            if jobs := users_of_training_data(client, reference):
                raise TrainingDataInUse(
                    f"training data {reference} is needed by job {jobs[0]}: wait until it has ended, or cancel it first"
                )
    except StoreUnavailable:
        return False
    finally:
        client.close()
    return True


def redis_url(settings: AppSettings) -> str:
    """Return the address of the settings, or of the server that `acgan up` started in the home."""
    if "redis_url" in settings.model_fields_set:
        return settings.redis_url
    return embedded_url(settings.home / "redis") or settings.redis_url
