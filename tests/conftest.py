"""Fixtures for all tests: a real Valkey, a data set, a small run. No real part is replaced by a fake."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
import torch
from httpx2._config import DEFAULT_TIMEOUT_CONFIG

from app.server.embedded_redis import EmbeddedRedis, prepare
from benchmarks.records import Answer, ask_desk
from models.config import DatasetName, TrainingConfig
from models.data.dataset import Dataset, load_dataset
from models.networks.precision import multiplies_bf16
from models.training.environment import reset_threads
from tests.support import failures, long_tests, skips, slow_files, temporary_files
from tests.support.s3_endpoint import Endpoint
from worker.jobs.client import JobClient

PLUGINS = (failures, long_tests, skips, slow_files, temporary_files)
DATA_DIR = os.environ.get("ACGAN_DATA_DIR")
NOWHERE = "http://127.0.0.1:9/"  # a mirror that refuses at once: tests use no network

# On a busy machine an example may take any time; what is tested has its own deadlines.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# Without a time limit of its own, a request of a test would fail after httpx2's 5 seconds, in which a busy machine may
# not run the server at all. The product's clients set their own limits.
for _step in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _step, 60.0)

# A shell's background jobs ignore SIGINT, and commands of nohup SIGHUP; their child processes would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

NEEDS_BF16 = pytest.mark.skipif(
    not multiplies_bf16(torch.device("cpu")), reason="this processor does not compute bfloat16 itself"
)
BF16 = pytest.param("bf16", marks=NEEDS_BF16)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    for plugin in PLUGINS:
        pluginmanager.register(plugin)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length: two processes of xdist may build different bytes, for example gzip's time stamp."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def environment_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures for many tests have a home too, and never use the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("session") / "home")
        yield


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    set_environment(monkeypatch, tmp_path / "home")
    yield
    reset_threads()  # a resumed run, or its API, may have set another number


def set_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Every test has its own home and none of the developer's variables, except for the location of MNIST."""
    for name in [name for name in os.environ if name.startswith("ACGAN_")]:
        monkeypatch.delenv(name)
    if DATA_DIR:
        monkeypatch.setenv("ACGAN_DATA_DIR", str(Path(DATA_DIR).resolve()))
    monkeypatch.setenv("ACGAN_HOME", str(home))
    monkeypatch.setenv("ACGAN_MNIST_MIRRORS", NOWHERE)
    monkeypatch.setenv("ACGAN_JUDGE", "false")  # tests train for seconds, and their generators must be served
    monkeypatch.setenv("ACGAN_PRETRAINED", "false")


@pytest.fixture(scope="session")
def dataset_name() -> DatasetName:
    """Real MNIST if it is installed, else printed digits."""
    return "mnist" if DATA_DIR else "printed"


def small(dataset: DatasetName, **changes: Any) -> TrainingConfig:
    """Two epochs of three iterations: every step of a run happens, nothing is learned."""
    fields: dict[str, Any] = {"epochs": 2, "batch_size": 6, "train_examples": 18, "test_examples": 12}
    return TrainingConfig(**{**fields, "dataset": dataset, **changes})


@pytest.fixture(scope="session")
def config(dataset_name: DatasetName) -> TrainingConfig:
    return small(dataset_name)


@pytest.fixture(scope="session")
def dataset(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(config, Path(DATA_DIR) if DATA_DIR else None, tmp_path_factory.mktemp("cache"), [NOWHERE])


# The API gives up a call after a second, and other processes write gigabytes to the disk. A server need not wait for
# the disk: what it has written survives its process.
LAZY = ("--appendfsync", "no")


class RunningRedis:
    """A real server that tests may stop, kill and start again; its data stays."""

    stdout: int = subprocess.DEVNULL
    options: tuple[str, ...] = ()

    def __init__(self, folder: Path, stdout: int = subprocess.DEVNULL, options: tuple[str, ...] = ()) -> None:
        self.server: EmbeddedRedis = prepare(folder)
        self.stdout = stdout
        self.options = options
        self.url = self.server.url
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([*self.server.command, *self.options], stdout=self.stdout)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.RedisError:
                time.sleep(0.02)
        raise TimeoutError("the test's Redis does not answer")

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=30)

    def ask(self, question: Callable[[JobClient], Coroutine[Any, Any, Answer]]) -> Answer:
        return ask_desk(self.url, question)

    def explain(self) -> str:
        return failures.describe_jobs(self.url)

    def start_rewrite(self) -> None:
        """Let the server rewrite its append-only file, unless it has already begun by itself."""
        with self.client() as client:
            try:
                client.bgrewriteaof()
            except redis.ResponseError as error:
                if "already in progress" not in str(error):
                    raise

    def wait_for_rewrite(self) -> None:
        with self.client() as client:
            while (found := client.info("persistence"))["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"]:
                time.sleep(0.02)

    def kill(self) -> None:
        process = self.process  # as soon as it has ended, another thread may start the next one
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def shared_endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def endpoint(shared_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """An S3 endpoint; environment variables name it."""
    for name, value in shared_endpoint.environment.items():
        monkeypatch.setenv(name, value)
    shared_endpoint.requests.clear()
    return shared_endpoint


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    running = RunningRedis(tmp_path_factory.mktemp("redis"), options=LAZY)
    yield running
    running.kill()


@pytest.fixture
def redis_url(shared_redis: RunningRedis) -> Iterator[str]:
    """The address of the tests' own server, empty."""
    with shared_redis.client() as client:
        client.flushdb()
    with failures.explained(shared_redis):
        yield shared_redis.url


@pytest.fixture
def mortal_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    """A server for one test, which may kill it."""
    running = RunningRedis(tmp_path / "redis", options=LAZY)
    with failures.explained(running):
        yield running
    running.kill()
