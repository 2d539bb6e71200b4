"""Serialization of a run's state between two iterations. A run that resumes from it ends as if never interrupted.

It contains no random numbers: the seed and the position of an iteration determine those.
"""

import json
from dataclasses import dataclass

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.bounded_reading import FileInvalid
from models.config import TrainingConfig
from models.errors import InvalidInput
from models.networks.safetensors_header import read_header
from models.records import Record
from models.training.environment import ComputeEnvironment


class InvalidState(InvalidInput, code="invalid-state"):
    """The bytes are not the state of this run. The message gives the reason."""


class Position(Record):
    """The position of a run: `iteration` iterations of this epoch are done."""

    epoch: int
    iteration: int
    seconds: float  # spent in this epoch so far


@dataclass(frozen=True)
class State:
    """Weights, moments, step counts, moving statistics and running loss sums by name, with position and config."""

    position: Position
    config: TrainingConfig
    dataset_checksum: str
    tensors: dict[str, Tensor]
    environment: ComputeEnvironment | None = None  # of the run's start; None if an older version saved the state
    warnings: tuple[str, ...] = ()  # reasons why the run may differ from an uninterrupted one


def to_bytes(state: State) -> bytes:
    about = {
        "position": state.position.model_dump_json(),
        "config": state.config.model_dump_json(),
        "dataset_checksum": state.dataset_checksum,
        "warnings": json.dumps(state.warnings),
    }
    if state.environment is not None:
        about["environment"] = state.environment.model_dump_json()
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}, metadata=about)


def from_bytes(data: bytes) -> State:
    """Parse a state. Raises InvalidState."""
    try:
        about = read_header(data, "the resume state").metadata
        tensors = load(data)
        return State(
            Position.model_validate_json(about["position"]),
            TrainingConfig.model_validate_json(about["config"], extra="ignore"),
            about["dataset_checksum"],
            tensors,
            ComputeEnvironment.model_validate_json(about["environment"]) if "environment" in about else None,
            tuple(json.loads(about.get("warnings", "[]"))),
        )
    except (FileInvalid, SafetensorError, ValidationError, KeyError, ValueError) as error:
        raise InvalidState(f"not the state of a run: {error}") from error
