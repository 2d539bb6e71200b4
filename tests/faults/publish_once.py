"""Publish one checkpoint, between two marks that a trace of system calls shows."""

import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
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


def publish_when_traced(root: Path, epoch: int, start: Connection) -> None:
    """Publish when the tracer is attached. The exit code is 0 only if publishing succeeded."""
    store = CheckpointStore(root)
    start.send("ready")
    start.recv()
    mark(BEGIN)
    try:
        store.publish(manifest(epoch, fence=1), FILES)
    except OSError:
        mark(END)
        sys.exit(1)
    mark(END)
