"""A run that saves its state every second iteration and may be killed at any moment, in a separate process."""

import hashlib
import json
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from models.config import TrainingConfig
from models.data.dataset import load_dataset
from models.registry.store import CheckpointStore
from models.training import training_state
from models.training.trainer import Trainer
from tests.support.forks import FORKS

JOB = "20260131-120000-000001"


def train(
    folder: Path, config: TrainingConfig, data_dir: Path | None, lines: Connection, last: tuple[int, int] | None
) -> None:
    """Train to the end, or until the state at the position `last` is saved, from the state in `folder` if there is one.

    Sends "resumed" if there was one, "kept" after each saved state, and at the end "done" with the SHA-256 of
    everything the run produced, each as the first word of a line.
    """
    store = CheckpointStore(folder)
    trainer = Trainer(config, load_dataset(config, data_dir, folder / "cache", []), torch.device("cpu"))
    if (data := store.load_state(JOB)) is not None:
        trainer.load_state(training_state.from_bytes(data))
        lines.send(f"resumed {trainer.epoch} {trainer.iteration}")

    def keep_state() -> None:
        if trainer.iteration % 2 == 0:
            store.save_state(JOB, training_state.to_bytes(trainer.state()))
            lines.send(f"kept {trainer.epoch} {trainer.iteration}")
        if last is not None and (trainer.epoch, trainer.iteration) >= last:
            time.sleep(600)  # until it is killed

    history = folder / "history"
    history.mkdir(exist_ok=True)
    for epoch in trainer.run(check=keep_state):
        (history / f"{epoch.epoch}.json").write_text(epoch.losses.model_dump_json())
    lines.send(f"done {digest(trainer, history)}")


def digest(trainer: Trainer, history: Path) -> str:
    """Returns the SHA-256 of every tensor and of every epoch's losses."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(trainer.tensors().items()):
        sha256.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    for path in sorted(history.iterdir()):
        sha256.update(json.dumps([path.name, json.loads(path.read_text())]).encode())
    return sha256.hexdigest()


class Run:
    """A process that trains. At the end of the `with` block it has ended or is killed.

    It trains no further than `last`, an epoch and an iteration: a test that is late finds it there.
    """

    def __init__(
        self, folder: Path, config: TrainingConfig, data_dir: Path | None, last: tuple[int, int] | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._lines, lines = FORKS.Pipe(duplex=False)
        self.process = FORKS.Process(target=train, args=(folder, config, data_dir, lines, last))
        self.process.start()
        lines.close()

    def next_line(self) -> str:
        """Wait for the next line. Returns "" if the process has ended."""
        try:
            line: str = self._lines.recv()
        except EOFError:
            return ""
        return line

    def lines_until(self, last: str) -> list[str]:
        """Returns the next lines up to the first one that is `last` or sorts after it, and at least one "kept"."""
        lines = [self.next_line()]
        while lines[-1] and not (lines[-1].startswith("kept") and lines[-1] >= last):
            lines.append(self.next_line())
        return lines

    def lines(self) -> list[str]:
        """Returns the other lines, when the process has ended."""
        return list(iter(self.next_line, ""))

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self._lines.close()
