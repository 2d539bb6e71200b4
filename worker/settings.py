"""Settings of the worker. The only module of this package that reads the environment."""

import contextlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AliasChoices, ByteSize, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.atomic_files import make_private, names_in, remove_old_temporary
from models.data.catalog import DATASETS
from models.proxies import without_credentials
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.store import CheckpointStore
from worker.connection_errors import reason_of
from worker.redis_address import normalize_address
from worker.tracker_catalog import absolute_address, read_trackers
from worker.webhook_url import Endpoint, read_webhook_hosts, read_webhook_secrets

OBJECT_STORAGE = ("s3://", "gs://", "az://")
TRACING = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")  # modules of the extra `tracing`

MOST_SECONDS = 7 * 86400.0  # sockets refuse more than 24 days
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]


def readable_by(read: Callable[[str], object]) -> AfterValidator:
    """Return the validator of a text that `read` must be able to parse. The setting stays the text."""

    def check(text: str) -> str:
        read(text)
        return text

    return AfterValidator(check)


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that contains it
        return False


class WorkerSettings(BaseSettings):
    """Settings from environment variables that begin with ACGAN_, read once at the start."""

    model_config = SettingsConfigDict(
        env_prefix="ACGAN_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
    )

    home: Path = Field(Path(".acgan"), description="Folder for checkpoints, the embedded Redis and caches.")
    redis_url: Annotated[str, AfterValidator(normalize_address)] = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey, 7 or newer: `redis://`, `rediss://` (TLS), or `unix://` and a path. If it is "
        "not set, `acgan up` starts a Redis.",
    )
    store: str | Path | None = Field(
        None,
        description="Store of checkpoints: a folder, by default `checkpoints` in the home, or `s3://bucket/prefix`, "
        "`gs://...`, `az://...`.",
    )
    store_cache: ByteSize = Field(
        ByteSize(2_000_000_000), description="Bytes of object storage to cache on this machine."
    )
    store_seconds: Seconds = Field(
        30.0,
        ge=1,
        description="Seconds that a read of the store may take, and that requests to object storage are retried.",
    )
    store_limit: ByteSize = Field(
        ByteSize(20_000_000_000),
        description="Bytes that the store may hold, as in `20GB`. If it exceeds them, resume states of ended jobs "
        "and epochs of the oldest runs are deleted.",
    )
    data_dir: Path | None = Field(
        None,
        description="Folder with MNIST, recognised by content: four IDX files, gzipped or not, or Keras' mnist.npz.",
    )
    mnist_mirrors: str = Field(
        " ".join(DATASETS["mnist"].mirrors),
        description="Addresses, separated by spaces, to download MNIST from if no folder has it.",
    )
    judge: bool = Field(
        True,
        description="Whether the digits of each epoch are judged, and generators that fail are not served.",
    )
    live: bool = Field(True, description="Whether running jobs show their last losses and, every five seconds, digits.")
    lease_seconds: Seconds = Field(
        30.0,
        ge=1,
        description="Seconds that a worker may run a job without contact to Redis before another worker takes it over.",
    )
    save_seconds: Seconds = Field(
        60.0,
        description="Seconds between two saves of a run's state. If a worker is lost, at most this much "
        "of the run is repeated.",
    )
    reconcile_seconds: Seconds = Field(
        15.0, description="Seconds between two checks of each worker for jobs without a live worker."
    )
    backoff_seconds: Seconds = Field(
        10.0,
        description="Seconds that a job waits after the second loss of its worker in a row.",
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of a worker's Prometheus metrics; 0 for none.")
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address that the metrics port listens on; `0.0.0.0` for all addresses of this machine.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged: `debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto",
        description="`json`, one object per line; `text`, for people; `auto`: text on a terminal, otherwise JSON.",
    )
    tracing: bool = Field(
        False,
        description="Whether traces are exported to an OpenTelemetry collector, which `OTEL_EXPORTER_OTLP_ENDPOINT` "
        "names.",
    )
    device: str = Field("auto", description="Device for training and drawing: `auto`, `cpu`, `cuda` or `cuda:1`.")
    report_to: Annotated[str, readable_by(read_trackers)] = Field(
        "",
        description="Experiment trackers that receive the figures of each epoch, separated by spaces or commas: "
        "`tensorboard`, `mlflow`.",
    )
    mlflow_tracking_uri: str = Field(
        "",
        validation_alias=AliasChoices("ACGAN_MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI"),
        description="Address of the MLflow server. If it is not set, runs are written to `mlruns` in the home.",
    )

    webhook_hosts: Annotated[str, readable_by(read_webhook_hosts)] = Field(
        "",
        description="Host names and IP addresses to which a request may send a message at its job's end, each with its "
        "port unless that is 443, separated by spaces or commas. If this is empty, no messages are sent.",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Secret that signs these messages: `whsec_` and base64. Several, separated by spaces, each sign.",
    )
    webhook_ca: Path | None = Field(
        None, description="File with the certificates (PEM) that sign those of the receivers, instead of the system's."
    )

    @field_validator("webhook_secret")
    @classmethod
    def check_webhook_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            read_webhook_secrets(secret.get_secret_value())
        return secret

    @field_validator("webhook_ca")
    @classmethod
    def check_webhook_ca(cls, path: Path | None) -> Path | None:
        if path is not None:
            import ssl  # few processes need it

            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:  # ssl.SSLError too
                raise ValueError(f"should be a file with certificates in the form PEM ({reason_of(error)})") from None
        return path

    @model_validator(mode="after")
    def check_webhooks(self) -> Self:
        if self.webhook_hosts and not (self.webhook_secret and self.webhook_secret.get_secret_value()):
            raise ValueError(
                "ACGAN_WEBHOOK_HOSTS requires ACGAN_WEBHOOK_SECRET, which is not set: "
                '`echo "whsec_$(openssl rand -base64 32)"` makes a secret'
            )
        return self

    @field_validator("store", mode="before")
    @classmethod
    def know_where(cls, store: str | Path | None) -> str | None:
        where = None if store is None else str(store)
        if where is not None and ":/" in where:
            shown = without_credentials(where)
            if not where.startswith(OBJECT_STORAGE):
                raise ValueError(f"{shown} is neither a folder nor one of {', '.join(OBJECT_STORAGE)}")
            if find_spec("obstore") is None:
                raise ValueError(f"{shown} needs obstore: pip install 'acgan[cloud]'")
        return where

    @field_validator("tracing")
    @classmethod
    def know_how(cls, tracing: bool) -> bool:
        if tracing and not all(map(is_installed, TRACING)):
            packages = "OpenTelemetry's SDK and exporter are installed (pip install 'acgan[tracing]')"
            raise ValueError(f"should be off until {packages}")
        return tracing

    def protect_home(self) -> None:
        """Make the home accessible to its owner only; create it if needed. Ignores errors.

        Deletes temporary files that killed processes left in it and in the folders of its cache.
        """
        with contextlib.suppress(OSError):
            make_private(self.home)
            for folder in (self.home, *(self.cache_dir / name for name in names_in(self.cache_dir))):
                remove_old_temporary(folder)

    def absolute_paths(self) -> dict[str, str]:
        """Return the variables that name folders, independent of the working directory, for another process."""
        folders = {"ACGAN_HOME": str(self.home.resolve())}
        if self.store is not None:
            folders["ACGAN_STORE"] = self.store_address
        if self.data_dir is not None:
            folders["ACGAN_DATA_DIR"] = str(self.data_dir.absolute())
        if self.webhook_ca is not None:
            folders["ACGAN_WEBHOOK_CA"] = str(self.webhook_ca.absolute())
        if self.mlflow_tracking_uri:
            folders["ACGAN_MLFLOW_TRACKING_URI"] = self.mlflow_address
        return folders

    @property
    def places(self) -> tuple[str, ...]:
        """Where this process keeps files, as paths and addresses: each as it was set, absolute, and without links."""
        folders = [self.home, *filter(None, [self.data_dir]), *([] if self.is_far else [self.store_dir])]
        texts = {str(form) for each in folders for form in (each, each.absolute(), each.resolve())} | {self.store_name}
        return tuple(sorted(texts - {".", "..", "/"}, key=len, reverse=True))

    def make_working_folder(self) -> Path:
        """Create the empty folder in which worker and API run, because Celery imports from it. Raises OSError."""
        folder = self.home.resolve() / "run"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def open_store(self) -> CheckpointStore:
        """Open the store without sending a request.

        Raises ValueError if the address is invalid, for example without a bucket.
        """
        self.protect_home()
        if not self.is_far:
            with contextlib.suppress(OSError):
                remove_old_temporary(self.store_dir)
            return CheckpointStore(FilesystemStorage(self.store_dir, self.store_seconds))
        from models.registry.storage.cache import Cache
        from models.registry.storage.object_store import ObjectStorage  # obstore is an extra

        cache = Cache(self.home / "cache" / "store", self.store_cache)
        address, workshops = self.store_name, self.home / "workshops"
        return CheckpointStore(ObjectStorage.connect(address, self.store_seconds, cache, workshops))

    @property
    def webhook_receivers(self) -> frozenset[Endpoint]:
        """The entries of `webhook_hosts`, in lower case."""
        return read_webhook_hosts(self.webhook_hosts)

    @property
    def is_far(self) -> bool:
        """Whether the store is in object storage."""
        return ":/" in str(self.store or "")

    @property
    def store_name(self) -> str:
        return str(self.store or self.store_dir)

    @property
    def store_address(self) -> str:
        """The store's address, independent of the working directory."""
        return self.store_name if self.is_far else str(self.store_dir.absolute())

    @property
    def store_dir(self) -> Path:
        """The folder of the store. Only if `is_far` is false."""
        assert not self.is_far, f"{self.store} is not a folder"
        return Path(self.store) if self.store else self.home / "checkpoints"

    @property
    def cache_dir(self) -> Path:
        return self.home / "cache"

    @property
    def judges_dir(self) -> Path:
        return self.home / "cache" / "judges"

    @property
    def trackers(self) -> list[str]:
        return read_trackers(self.report_to)

    @property
    def mlflow_address(self) -> str:
        return absolute_address(self.mlflow_tracking_uri or (self.home / "mlruns").absolute().as_uri())

    @property
    def mirrors(self) -> list[str]:
        return self.mnist_mirrors.split()
