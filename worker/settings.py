"""Everything the worker can be told from outside. The only reader of the environment on this floor."""

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pydantic import ByteSize, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.atomic_files import make_private, remove_old_temporary
from models.config import MIRRORS
from models.registry.storage.filesystem import FolderShelf
from models.registry.store import CheckpointStore

OBJECT_STORAGE = ("s3://", "gs://", "az://")


SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+socket": "unix",
}
FORMS = "redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/redis.sock?db=0"


def normalize_address(url: str) -> str:
    """Return an address as redis-py reads it. Raises ValueError, without the address: it may hold a password."""
    try:
        parts = urlsplit(url.strip())
        scheme = SCHEMES.get(parts.scheme)
        _ = parts.port  # raises ValueError if it is no number
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError as error:
        raise ValueError(f"this is no address of a Redis ({error}): it looks like {FORMS}") from None
    if scheme is None:
        known = f"{parts.scheme}:// is not a kind of address" if parts.scheme else "this is no address"
        raise ValueError(f"{known} of a Redis that all parts know: it looks like {FORMS}")
    if scheme == "unix":
        return _socket(parts, query)
    database = query.pop("db", None) or query.pop("virtual_host", None) or parts.path.strip("/") or "0"
    if "ssl_cert_reqs" in query:  # Celery's spelling has a prefix
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].lower().removeprefix("cert_")
    return urlunsplit((scheme, parts.netloc, f"/{_number(database)}", urlencode(query), ""))


def celery_address(url: str) -> str:
    """Return a normalized address as Celery's transport reads it."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = dict(parse_qsl(parts.query))
    query["virtual_host"] = query.pop("db", "0")
    return f"redis+socket://{parts.netloc}{parts.path}?{urlencode(query)}"


def _socket(parts: SplitResult, query: dict[str, str]) -> str:
    """Raises ValueError."""
    host = parts.netloc.rpartition("@")[2]
    if host or not parts.path.strip("/"):
        raise ValueError(f"a socket's address has three slashes and a path: {FORMS}")
    database = query.pop("virtual_host", None) or query.pop("db", None) or "0"
    query["db"] = _number(database.strip("/"))
    path = quote(unquote(parts.path))
    return f"unix://{parts.netloc}{path}?{urlencode(query)}"


def _number(database: str) -> str:
    if not (database.isascii() and database.isdecimal()):
        raise ValueError(f"the database of Redis is a number, as in {FORMS}")
    return str(int(database))


class WorkerSettings(BaseSettings):
    """Read once, from variables that begin with ACGAN_."""

    model_config = SettingsConfigDict(
        env_prefix="ACGAN_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = Field(Path(".acgan"), description="Folder for checkpoints, the embedded Redis and caches.")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey, 7 or newer: `redis://`, `rediss://` (TLS), or `unix://` and a path. If it is not "
        "set, `acgan up` starts its own.",
    )
    store: str | Path | None = Field(
        None,
        description="Where checkpoints lie: a folder, by default `checkpoints` in the home; or `s3://bucket/prefix`, "
        "`gs://...`, `az://...`.",
    )
    store_cache: ByteSize = Field(
        ByteSize(2_000_000_000), description="Bytes of what lies in object storage to keep on this machine."
    )
    store_seconds: float = Field(
        30.0, ge=1, description="How long object storage may take to answer, and again to be asked anew."
    )
    store_limit: ByteSize = Field(
        ByteSize(20_000_000_000),
        description="Bytes of checkpoints to keep, as in `20GB`; beyond it the oldest runs keep their last epoch only.",
    )
    data_dir: Path | None = Field(
        None,
        description="Folder that holds MNIST, found by content: four IDX files, gzipped or not, or Keras' mnist.npz.",
    )
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
    def check_redis_url(cls, url: str) -> str:
        return normalize_address(url)

    @field_validator("store", mode="before")
    @classmethod
    def know_where(cls, store: str | Path | None) -> str | None:
        where = None if store is None else str(store)
        if where is not None and ":/" in where:
            if not where.startswith(OBJECT_STORAGE):
                raise ValueError(f"{where} is neither a folder nor one of {', '.join(OBJECT_STORAGE)}")
            if find_spec("obstore") is None:
                raise ValueError(f"{where} needs obstore: pip install 'acgan[cloud]'")
        return where

    def protect_home(self) -> None:
        """Create the home for its owner only, and close one that others can enter. A home that cannot be stays open."""
        with contextlib.suppress(OSError):
            make_private(self.home)
            remove_old_temporary(self.home)

    def open_store(self) -> CheckpointStore:
        """Object storage is not asked yet. Raises ValueError where its address has no bucket, or the like."""
        self.protect_home()
        if not self.is_far:
            with contextlib.suppress(OSError):
                remove_old_temporary(self.store_dir)
            return CheckpointStore(FolderShelf(self.store_dir, self.store_seconds))
        from models.registry.storage.cache import Cache
        from models.registry.storage.object_store import ObjectShelf  # obstore is an extra

        cache = Cache(self.home / "cache" / "store", self.store_cache)
        address, workshops = self.store_name, self.home / "workshops"
        return CheckpointStore(ObjectShelf.connect(address, self.store_seconds, cache, workshops))

    @property
    def is_far(self) -> bool:
        """Whether checkpoints lie in object storage."""
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
        """The folder of checkpoints, where they lie in one."""
        assert not self.is_far, f"{self.store} is no folder"
        return Path(self.store) if self.store else self.home / "checkpoints"

    @property
    def cache_dir(self) -> Path:
        return self.home / "cache" / "mnist"

    @property
    def judges_dir(self) -> Path:
        return self.home / "cache" / "judges"

    @property
    def mirrors(self) -> list[str]:
        return self.mnist_mirrors.split()
