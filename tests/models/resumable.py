"""A run that keeps its state every few iterations and may be killed at any moment:

    python -m tests.models.resumable FOLDER CONFIG_JSON EVERY [DATA_DIR]

Prints the SHA-256 of everything the run came to, once it has come to its end.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch

from models import resume
from models.checkpoints import CheckpointStore
from models.config import TrainingConfig
from models.data import load_dataset
from models.trainer import Trainer

JOB = "20260131-120000-000001"


def main() -> None:
    folder, config, every = Path(sys.argv[1]), TrainingConfig.model_validate_json(sys.argv[2]), int(sys.argv[3])
    data_dir = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    store = CheckpointStore(folder)
    trainer = Trainer(config, load_dataset(config, data_dir, folder / "cache", []), torch.device("cpu"))
    if (data := store.load_state(JOB)) is not None:
        trainer.load_state(resume.from_bytes(data))
        print("resumed", trainer.epoch, trainer.iteration, flush=True)  # noqa: T201

    def keep_state() -> None:
        if trainer.iteration % every == 0:
            store.save_state(JOB, resume.to_bytes(trainer.state()))
            print("kept", trainer.epoch, trainer.iteration, flush=True)  # noqa: T201

    history = folder / "history"
    history.mkdir(exist_ok=True)
    for result in trainer.run(check=keep_state):
        (history / f"{result.epoch}.json").write_text(result.losses.model_dump_json())
    digest = hashlib.sha256()
    for name, tensor in sorted(trainer.tensors().items()):
        digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    for path in sorted(history.iterdir()):
        digest.update(json.dumps([path.name, json.loads(path.read_text())]).encode())
    print("done", digest.hexdigest(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
