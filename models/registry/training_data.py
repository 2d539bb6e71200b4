"""Training data that users brought, in the store that all workers share. Without torch.

    training-data/<name>@<version>/   train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte,
                                      t10k-labels-idx1-ubyte, preview.png, manifest.json
    training-data/<name>.versions     the number of versions so far, including removed ones

A version is placed atomically, verified when it is read, and never changed: other content is a new version.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from models.bounded_reading import FileDamaged, FileInvalid
from models.config import TrainingConfig
from models.data.building.built import Arrays, Built, OptionValues
from models.data.catalog import DATASETS
from models.data.reference import NAME, Reference, name_of
from models.errors import Conflict, InvalidInput, NotFound
from models.records import check_that_a_batch_is_filled
from models.registry.manifest import FileName, FileRecord
from models.registry.storage.background_call import watched
from models.registry.storage.base import MANIFEST, ArtifactStorage, Folder
from models.registry.storage.reading import RECORD_BYTES, parse, read_bytes, seal
from models.version import code_version

if TYPE_CHECKING:  # commands that only ask a service do not load it
    import numpy as np

PLACE = "training-data"  # in the store: like the folder of a job, but never one
PREVIEW = "preview.png"
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
ARRAYS = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


class TrainingDataNotFound(NotFound, code="training-data-not-found"):
    """No training data has this name, or not this version."""


class NameReserved(Conflict, code="training-data-reserved"):
    """The name is that of built-in training data, which is neither replaced nor removed."""


class InvalidName(InvalidInput, code="training-data-name-invalid"):
    """This cannot be a name of training data."""


class TrainingDataManifest(BaseModel):
    """Description of one version of training data that a user brought."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str = Field(pattern=rf"^{NAME}$", examples=["letters"])
    version: int = Field(ge=1)
    created_at: datetime
    classes: tuple[str, ...] = Field(description="Names of the classes, by label.")
    train_counts: tuple[int, ...] = Field(description="Number of training images of each class.")
    test_counts: tuple[int, ...] = Field(description="Number of test images of each class.")
    source: str = Field("", description="What the images were read from.")
    options: OptionValues = Field({}, description="How the images were fitted and split.")
    warnings: list[str] = Field([], description="What was left out or is unusual, such as files that were skipped.")
    dataset_checksum: str = Field(description="SHA-256 of all images and labels, as in the manifests of checkpoints.")
    code_version: str
    files: dict[FileName, FileRecord]

    @property
    def reference(self) -> Reference:
        return Reference(self.name, self.version)

    @property
    def folder(self) -> Folder:
        return Folder(PLACE, str(self.reference))

    @property
    def total_size(self) -> int:
        return sum(file.size for file in self.files.values())


def checked_name(name: str) -> str:
    """Raises InvalidName if this is not a name without a version, NameReserved if it is that of built-in data."""
    try:
        reference = Reference.parse(name)
    except ValueError as error:
        raise InvalidName(str(error)) from None
    if reference.version is not None:
        raise InvalidName(f"{name!r} has a version: give the name alone, because versions are numbered by the store")
    if name in DATASETS:
        raise NameReserved(f"{name} is the name of built-in training data: choose another name")
    return name


class TrainingDataStore:
    """All training data that users brought. Safe for many concurrent readers and writers."""

    def __init__(self, storage: ArtifactStorage) -> None:
        self.storage = storage

    # ----------------------------------------------------------------------------
    # Reading.

    def references(self) -> list[Reference]:
        """Return all versions, sorted by name, then version."""
        names = (folder.name for folder in self.storage.folders(PLACE))
        return sorted(Reference.parse(name) for name in names if _is_reference(name))

    def newest(self, name: str) -> Reference | None:
        """Return the newest version of a name; None if there is none."""
        return max((each for each in self.references() if each.name == name), default=None)

    def find(self, dataset: str) -> Reference:
        """Return the version that a name, or a name with a version, means. Raises TrainingDataNotFound, OSError."""
        try:
            wanted = Reference.parse(dataset)
        except ValueError as error:
            raise TrainingDataNotFound(str(error)) from None
        known = self.references()
        if wanted.version is not None and wanted in known:
            return wanted
        found = max((each for each in known if each.name == wanted.name), default=None)
        if found is None or wanted.version is not None:
            names = sorted({*DATASETS, *(str(each) for each in known)})
            raise TrainingDataNotFound(f"there is no training data {wanted}; there are {', '.join(names)}")
        return found

    def versions(self, dataset: str) -> list[Reference]:
        """Return all versions of a name, or the one version that it names, for a removal.

        Raises InvalidName, NameReserved, TrainingDataNotFound, OSError.
        """
        checked_name(name_of(dataset))
        try:
            wanted = Reference.parse(dataset)
        except ValueError as error:
            raise InvalidName(str(error)) from None
        return [each for each in self.references() if wanted.means(str(each))] or [self.find(dataset)]

    def manifest(self, reference: Reference) -> TrainingDataManifest:
        """Raises TrainingDataNotFound, FileInvalid, Unreadable, Unreachable."""
        try:
            data = read_bytes(self.storage, f"{PLACE}/{reference}/{MANIFEST}")
        except FileNotFoundError:
            raise TrainingDataNotFound(f"there is no training data {reference}") from None
        return parse(data, TrainingDataManifest, f"the manifest of training data {reference}")

    def manifests(self) -> list[TrainingDataManifest]:
        """Return the manifests of all versions that can be read, sorted by name, then version. Raises Unreachable."""
        folders = [Folder(PLACE, str(reference)) for reference in self.references()]
        found = []
        for folder, data in self.storage.read_each(folders, MANIFEST, RECORD_BYTES):
            if not isinstance(data, OSError):
                try:
                    found.append(parse(data, TrainingDataManifest, f"the manifest of training data {folder.name}"))
                except FileInvalid:
                    continue
        return found

    def read(self, manifest: TrainingDataManifest, name: str) -> bytes:
        """Return the bytes of a file after a check of its size and SHA-256. Raises FileInvalid, Unreadable."""
        record, path = manifest.files.get(name), f"{manifest.folder}/{name}"
        if record is None:
            raise FileDamaged(f"the manifest of training data {manifest.reference} does not list {name}")
        try:
            data = read_bytes(self.storage, path, record.size)
            if FileRecord.of(data) != record:
                data = self.storage.read_again(path, record.size)
        except FileNotFoundError:
            raise FileDamaged(f"{name} of training data {manifest.reference} is missing") from None
        if FileRecord.of(data) != record:
            raise FileDamaged(f"{name} of training data {manifest.reference} is damaged: its checksum differs")
        return data

    def load(self, reference: Reference) -> tuple[TrainingDataManifest, Arrays]:
        """Read all images. Raises TrainingDataNotFound, FileInvalid, Unreadable, Unreachable."""
        from models.data.idx import read_idx

        manifest = self.manifest(reference)
        return manifest, Arrays(*(read_idx(self.read(manifest, name)) for name in ARRAYS))

    def read_stored(self, dataset: str) -> tuple[Arrays, tuple[str, ...]]:
        """Return the images and labels of a data set, and the names of its classes. Raises the errors of `load`."""
        manifest, splits = self.load(self.find(dataset))
        return splits, manifest.classes

    def classes_of(self, dataset: str) -> tuple[str, ...]:
        """Return the names of the classes, also of a built-in set. Raises TrainingDataNotFound, OSError."""
        built_in = DATASETS.get(dataset)
        return built_in.classes if built_in else self.manifest(self.find(dataset)).classes

    def settled(self, config: TrainingConfig) -> TrainingConfig:
        """Return the config with the version of its training data. Raises TrainingDataNotFound, OSError."""
        if config.dataset in DATASETS:
            return config
        return config.model_copy(update={"dataset": str(self.find(config.dataset))})

    def settled_for_run(self, config: TrainingConfig) -> TrainingConfig:
        """Return the config of a run as `settled` does. Raises TooFewImages too, and the errors of `manifest`."""
        settled = self.settled(config)
        if settled.dataset not in DATASETS:
            images = sum(self.manifest(Reference.parse(settled.dataset)).train_counts)
            check_that_a_batch_is_filled(settled.dataset, images, config.batch_size)
        return settled

    # ----------------------------------------------------------------------------
    # Writing.

    def publish(
        self, name: str, built: Built, preview: bytes, check: Callable[[], None] = lambda: None
    ) -> tuple[TrainingDataManifest, bool]:
        """Store training data as the next version of its name; if the newest version has the same content, keep that.

        Returns the manifest of the version, and whether it is new. `check` is called about once a second while the
        files are written, and while no one else can publish. Raises InvalidName, NameReserved, what `check` raises, and
        OSError; then nothing is stored.
        """
        checked_name(name)
        checksum, arrays = built.checksum, built.arrays
        files = {file: _idx(array) for file, array in zip(ARRAYS, arrays, strict=True)} | {PREVIEW: preview}
        made = TrainingDataManifest(
            name=name,
            version=1,
            created_at=datetime.now(UTC),
            classes=built.classes,
            train_counts=tuple(built.counts(arrays.train_labels)),
            test_counts=tuple(built.counts(arrays.test_labels)),
            source=built.source,
            options=built.options,
            warnings=list(built.warnings),
            dataset_checksum=checksum,
            code_version=code_version(),
            files={file: FileRecord.of(data) for file, data in files.items()},
        )
        place, token = Folder(PLACE, f"{name}@new"), int(made.created_at.timestamp() * 1e6)
        staged = watched(lambda: self.storage.stage(place, token, files), check, self.storage.discard)

        def step() -> tuple[TrainingDataManifest, bool]:
            check()
            last = self.newest(name)
            before = None if last is None else self.manifest(last)
            if before and (before.dataset_checksum, before.classes) == (checksum, made.classes):
                return before, False
            new = made.model_copy(update={"version": self._next_version(name, last)})
            self.storage.complete(staged, MANIFEST, seal(new))
            self.storage.place(staged, new.folder, self.storage.fence(PLACE))
            return new, True

        try:
            manifest, is_new = self.storage.alone(step)
        except BaseException:
            self.storage.discard(staged)
            raise
        if not is_new:
            self.storage.discard(staged)
        return manifest, is_new

    def _next_version(self, name: str, last: Reference | None) -> int:
        """Return a version that was never used, also not by removed data. Call this only inside a step of `alone`."""
        version = 0

        def count(old: bytes | None) -> bytes:
            nonlocal version
            used = int(old) if old and old.isdigit() else 0
            version = max(used, (last and last.version) or 0) + 1
            return str(version).encode()

        self.storage.change(f"{PLACE}/{name}.versions", count)
        return version

    def remove(self, reference: Reference, check: Callable[[], None] = lambda: None) -> None:
        """Remove one version. Raises TrainingDataNotFound, what `check` raises, and OSError."""

        def step() -> None:
            if reference not in self.references():
                raise TrainingDataNotFound(f"there is no training data {reference}")
            check()
            self.storage.remove(Folder(PLACE, str(reference)))

        self.storage.alone(step)


def preview(built: Built) -> bytes:
    """Return the contact sheet of the training images as PNG."""
    from models.sampling.contact_sheet import contact_sheet
    from models.sampling.png import encode_png

    arrays = built.arrays
    return encode_png(contact_sheet(arrays.train_images, arrays.train_labels, len(built.classes)))


def _is_reference(name: str) -> bool:
    _, at, version = name.partition("@")
    return bool(at) and version.isdecimal()


def _idx(array: "np.ndarray") -> bytes:
    from models.data.idx import idx_header

    return idx_header(array.shape) + array.tobytes()
