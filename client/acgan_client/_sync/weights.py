# Written by client/make_sync.py: change the file of the same name in _async instead.
"""The calls that import a checkpoint, and that download its files as they are stored or in other formats."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Unpack

from acgan_client._sync.transport import Transport
from acgan_client.calls import (
    CheckpointRef,
    Form,
    ImportFields,
    Network,
    WeightsOf,
    at,
    get_record,
    id_of,
    imported,
    upload,
)
from acgan_client.deadlines import run_blocking
from acgan_client.downloads import MANIFEST, MANIFEST_LIMIT, arriving, files_of_checkpoint, is_whole, target
from acgan_client.records.checkpoints import CheckpointManifest, ImportedCheckpoint

SUFFIXES: dict[Form, str] = {"onnx": ".onnx", "keras": ".hdf5", "keras3": ".weights.h5"}
CONVERSION_SECONDS = 150.0


class Weights(Transport):
    """The part of the client that sends files of weights, and writes them."""

    def import_checkpoint(self, file: bytes | Path | str, **fields: Unpack[ImportFields]) -> ImportedCheckpoint:
        """Import a generator from a safetensors file: its path, or its bytes. The service judges and publishes it.

        If the service has a checkpoint with the same weights, nothing is published, and that checkpoint is returned:
        then `is_new` is false.
        """
        return self._send(run_blocking(partial(upload, "/checkpoints", imported, file, fields)))

    def download_checkpoint(self, checkpoint: CheckpointRef, folder: Path | str) -> Iterator[Path]:
        """Download all files of a checkpoint into a folder, check each against its SHA-256, and yield its path.

        Otherwise as `download_checkpoint_file`.
        """
        manifest = self._manifest(checkpoint)
        for name in [MANIFEST, *files_of_checkpoint(manifest)]:
            yield self._weights(manifest, name, Path(folder) / name)

    def download_checkpoint_file(self, checkpoint: CheckpointRef, name: str, to: Path | str = ".") -> Path:
        """Download a file of a checkpoint, as in `generator.safetensors`, and check it against its SHA-256.

        `checkpoint` may also be `latest` or `best`; `to` is the file to write, or a folder for it. A file that is
        already complete is kept. After a lost connection the download continues. Returns the path. Raises
        NotUnderstood, and leaves no partial file, if the file is damaged.
        """
        path = target(to, name)
        return self._weights(self._manifest(checkpoint), name, path)

    def export(
        self,
        checkpoint: CheckpointRef,
        format: Form,  # noqa: A002  # the name that the API has
        to: Path | str = ".",
        *,
        network: Network = "generator",
        weights: WeightsOf | None = None,
    ) -> Path:
        """Download a network in the format of another program: ONNX, Keras 2 (`keras`) or Keras 3 (`keras3`).

        `weights` are the trained or the averaged ones of the generator; by default those that are served. Otherwise as
        `download_checkpoint_file`.
        """
        name = f"{network}{SUFFIXES[format]}"
        path = at("checkpoints", id_of(checkpoint), "exports", name)
        with arriving(target(to, name), None) as arrival:
            self._receive(path, arrival, CONVERSION_SECONDS, **({"weights": weights} if weights else {}))
        return arrival.path

    def _manifest(self, checkpoint: CheckpointRef) -> CheckpointManifest:
        call = get_record(at("checkpoints", id_of(checkpoint), MANIFEST), CheckpointManifest, {}, MANIFEST_LIMIT)
        return self._send(call)

    def _weights(self, manifest: CheckpointManifest, name: str, path: Path) -> Path:
        record = files_of_checkpoint(manifest).get(name)  # None for the manifest, or for a file that does not exist
        if record is not None and run_blocking(partial(is_whole, path, record)):
            return path
        with arriving(path, record) as arrival:
            self._receive(at("checkpoints", manifest.id, name), arrival)
        return path
