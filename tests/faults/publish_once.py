"""Publish one checkpoint, between two marks that a trace of system calls shows:

python -m tests.faults.publish_once STORE EPOCH
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from models.registry.store import DISCRIMINATOR, GENERATOR, SAMPLES, CheckpointStore, Manifest
from tests.support import records

JOB = "20260131-120000-000001"
FILES = {GENERATOR: b"generator" * 3000, DISCRIMINATOR: b"discriminator" * 1000, SAMPLES: b"samples" * 500}
BEGIN, END = "/begin-publication", "/end-publication"


def manifest(epoch: int, fence: int) -> Manifest:
    return records.manifest(JOB, epoch, fence=fence)


def mark(name: str) -> None:
    with suppress(FileNotFoundError):
        os.stat(name)


def main() -> None:
    store, epoch = CheckpointStore(Path(sys.argv[1])), int(sys.argv[2])
    mark(BEGIN)
    try:
        store.publish(manifest(epoch, fence=1), FILES)
    except OSError as error:
        mark(END)
        sys.exit(f"not published: {error}")
    mark(END)
    print("published")  # noqa: T201


if __name__ == "__main__":
    main()
