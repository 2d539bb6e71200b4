"""A service with a checkpoint whose evaluation takes seconds, and what the command says about it."""

import os
import signal
import subprocess
from pathlib import Path

from models.evaluation.evaluation_records import Evaluation
from models.registry.evaluations import WORK
from models.registry.storage.base import Folder
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_own
from tests.models.registry.test_store import OLD
from tests.support.running_service import CHECKOUT, Service
from tests.support.training_sets import bring

ENVIRONMENT = {"ACGAN_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}


def publish_bars(home: Path) -> str:
    """Publish a generator of small data of three classes in the store of a home. Returns the checkpoint's id."""
    store = CheckpointStore(home / "checkpoints")
    return publish_own(store, OLD, str(bring(store.training_data, "bars").reference), ("a", "b", "c"))


def kill_in_the_middle(service: Service, evaluation: str) -> None:
    """Kill the worker when it has compared the generated images, and wait until another one runs the evaluation."""
    step = CheckpointStore(service.home / "checkpoints").storage.workshop(Folder(evaluation, WORK))
    service.until("images are compared", (step / "generated-compared.json").exists)
    written = (step / "generated-compared.json").stat().st_mtime_ns
    before = service.job(evaluation)
    assert before["status"] == "running", before
    os.kill(service.find("app.cli worker"), signal.SIGKILL)
    service.until("another worker runs it", lambda: service.job(evaluation)["worker"] not in (None, before["worker"]))
    assert (step / "generated-compared.json").stat().st_mtime_ns == written  # and does not begin again


def evaluate_here(service: Service, checkpoint: str, home: Path) -> str:
    """The JSON of `acgan evaluate --quick` with the same threads, in a home of its own: it trains the judge again."""
    environment = {**service.environment, "ACGAN_HOME": str(home), "ACGAN_STORE": str(service.home / "checkpoints")}
    words = [*CHECKOUT, "evaluate", checkpoint, "--quick", "--json"]
    return subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def figures(text: str) -> bytes:
    """The bytes of an evaluation in JSON without the time that it took."""
    Evaluation.model_validate_json(text)
    lines = text.strip().encode().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(b'  "seconds": ')]
    assert len(kept) == len(lines) - 1
    return b"".join(kept)
