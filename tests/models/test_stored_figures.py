"""Records refuse figures that JSON does not have: as null, a record could not be read again."""

import importlib
import math
import pkgutil
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

import models
import worker
from models.registry.store import Manifest
from tests.models.registry.test_store import OLD, manifest
from worker.jobs.model import EpochRecord, Job, QueuePlace

BUILT = {Job, QueuePlace}  # from other records, when they are read


def subclasses(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


def records() -> set[type[BaseModel]]:
    """Return the records of all modules that need no further package."""
    for package in (models, worker):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith("worker.tracking."):
                importlib.import_module(module.name)
    return {each for each in subclasses(BaseModel) if each.__module__.split(".")[0] in ("models", "worker")}


def test_every_record_with_figures_refuses_those_that_are_not_finite() -> None:
    with_figures = {
        each for each in records() if any("float" in str(field.annotation) for field in each.model_fields.values())
    }
    assert {Manifest, EpochRecord} <= with_figures
    assert [each for each in with_figures - BUILT if each.model_config.get("allow_inf_nan") is not False] == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_figures_that_are_not_finite_are_named_before_they_are_stored(value: float) -> None:
    made = manifest(OLD, 1).model_dump() | {"metrics": {"variety_3": value}}
    with pytest.raises(ValidationError, match=r"variety_3\n  Input should be a finite number"):
        Manifest.model_validate(made)
