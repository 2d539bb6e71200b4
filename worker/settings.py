"""Everything the worker can be told from outside. The only reader of the environment on this floor."""

from pathlib import Path
from typing import Literal

from pydantic import ByteSize, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.mnist import MIRRORS


class WorkerSettings(BaseSettings):
    """Read once, from variables that begin with ACGAN_."""

    model_config = SettingsConfigDict(
        env_prefix="ACGAN_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = Field(Path(".acgan"), description="Folder for checkpoints, the embedded Redis and caches.")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey, 7 or newer. Where this is not set, `acgan up` starts its own.",
    )
    store: Path | None = Field(None, description="Folder for checkpoints; by default `checkpoints` in the home.")
    store_limit: ByteSize = Field(
        ByteSize(20_000_000_000),
        description="Bytes of checkpoints to keep, as in `20GB`; beyond it the oldest runs keep their last epoch only.",
    )
    data_dir: Path | None = Field(None, description="Folder where the four IDX files of MNIST lie, gzipped or not.")
    mnist_mirrors: str = Field(
        " ".join(MIRRORS), description="Where MNIST is downloaded from when it lies nowhere, separated by spaces."
    )
    judge: bool = Field(
        True,
        description="Whether each epoch's digits are judged, and generators that cannot draw are not served.",
    )
    lease_seconds: float = Field(
        30.0, ge=1, description="How long a worker may run a job without word from Redis before another takes it over."
    )
    save_seconds: float = Field(
        60.0, gt=0, description="How often a run's state is kept: what a lost worker costs at most."
    )
    reconcile_seconds: float = Field(15.0, gt=0, description="How often each worker looks for jobs that nobody runs.")
    backoff_seconds: float = Field(
        10.0, gt=0, description="How long a job waits after its worker was lost; twice as long each time in a row."
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port where a worker tells Prometheus its figures; 0 for none."
    )
    metrics_host: str = Field("127.0.0.1", description="Address where it does; `0.0.0.0` for all of this machine's.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="From where on lines are logged: `debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`json`, one object a line; `text`, for people; `auto`, which is text on a terminal only."
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:1`: where training and drawing happen.")

    @field_validator("redis_url")
    @classmethod
    def speak_redis(cls, url: str) -> str:
        """Celery knows Valkey by its protocol's name only."""
        return url.replace("valkey://", "redis://", 1).replace("valkeys://", "rediss://", 1)

    @field_validator("store")
    @classmethod
    def refuse_urls(cls, store: Path | None) -> Path | None:
        if store is not None and ":/" in str(store):
            raise ValueError(f"{store} is not a folder: object storage is not supported yet")
        return store

    @property
    def store_dir(self) -> Path:
        return self.store or self.home / "checkpoints"

    @property
    def cache_dir(self) -> Path:
        return self.home / "cache" / "mnist"

    @property
    def judges_dir(self) -> Path:
        return self.home / "cache" / "judges"

    @property
    def mirrors(self) -> list[str]:
        return self.mnist_mirrors.split()
