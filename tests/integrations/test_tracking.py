"""`--report-to`: the real TensorBoard and MLflow read what a run has written, and a broken server changes nothing."""

import io
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from app.cli.local.training import LocalEpoch, Stopped, train_here
from app.settings import AppSettings
from benchmarks.records import ask_desk
from models.config import DatasetName, TrainingConfig
from models.records import EpochLosses, EpochResult
from tests.conftest import small
from worker.jobs.client import Order
from worker.jobs.model import Job, JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings
from worker.tracker_catalog import load_tracker
from worker.tracking import session
from worker.tracking.tracker import TrackedEpoch, TrackedRun, TrackingTarget, figures_of

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

BOTH = "tensorboard mlflow"
EPOCHS = 3


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """On a busy machine, importing MLflow can take longer than a run of three small epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "FLUSH_SECONDS", 120.0)
        patch.setattr(session, "STOPPED_FLUSH_SECONDS", 120.0)
        yield


@pytest.fixture(scope="module")
def config(dataset_name: DatasetName) -> TrainingConfig:
    return small(dataset_name, epochs=EPOCHS, recipe="sharp", name="a 'run'")


def settings_of(home: Path, **changes: Any) -> AppSettings:
    return AppSettings(home=home, judge=False, **changes)


def train(config: TrainingConfig, settings: AppSettings, out: Path, resume: bool = False, stop: bool = False) -> str:
    def on_epoch(_: LocalEpoch) -> None:
        if stop:
            raise Stopped

    printed = io.StringIO()
    out.mkdir(exist_ok=True)
    train_here(config, settings, out, Console(file=printed, width=500), resume, on_epoch)
    return printed.getvalue()


@pytest.fixture(scope="module")
def untracked(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untracked")
    train(config, settings_of(folder / "home"), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def tracked(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped in its second epoch, was resumed to the end, and then again from the older state."""
    folder = tmp_path_factory.mktemp("tracked")
    settings, out = settings_of(folder / "home", report_to=BOTH), folder / "run"
    with pytest.raises(Stopped):
        train(config, settings, out, stop=True)
    shutil.copy(out / "resume.safetensors", folder / "state")
    assert "warning" not in train(config, settings, out, resume=True)
    shutil.copy(folder / "state", out / "resume.safetensors")
    assert "warning" not in train(config, settings, out, resume=True)
    return out


def weights(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("params_*"))}


def expected_figures(out: Path, config: TrainingConfig) -> dict[int, dict[str, float]]:
    """The figures of each epoch, from the history; without those that depend on time."""
    figures = {}
    for epoch in json.loads((out / "history.json").read_text())["epochs"]:
        losses = EpochLosses.model_validate(epoch["losses"])
        rate = 2 * config.adam_lr * min(1, 2 * (1 - (epoch["epoch"] - 1) / EPOCHS))
        figures[epoch["epoch"]] = figures_of(EpochResult(epoch=epoch["epoch"], seconds=0, losses=losses), {}, rate, 18)
        del figures[epoch["epoch"]]["training/seconds"]
    assert list(figures) == [1, 2, 3]
    assert len(figures[1]) == 13
    return figures


def test_the_trained_bits_are_the_same_with_and_without_trackers(untracked: Path, tracked: Path) -> None:
    assert len(weights(untracked)) == 3 * EPOCHS
    assert weights(tracked) == weights(untracked)


def test_tensorboard_reads_the_history_each_epoch_once(tracked: Path, config: TrainingConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (tracked / "tensorboard").iterdir()
    assert folder.name == json.loads((tracked / "tracking.json").read_text())["run"]
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    for number, figures in expected_figures(tracked, config).items():
        for name, value in figures.items():
            scalars = events.Scalars(name)
            assert [scalar.step for scalar in scalars] == [1, 2, 3], name
            assert scalars[number - 1].value == np.float32(value), name
    assert all(scalar.value > 0 for scalar in events.Scalars("training/images_per_second"))
    pictures = events.Images("samples")
    assert [(image.step, image.height, image.width) for image in pictures] == [(n, 1120, 588) for n in (1, 2, 3)]
    assert "run/text_summary" in events.Tags()["tensors"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def mlflow_client(address: str) -> Any:
    load_tracker("mlflow")  # sets MLflow's defaults
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=address)


def only_run(client: Any) -> Any:
    (run,) = client.search_runs([client.get_experiment_by_name("acgan").experiment_id])
    return run


def test_mlflow_reads_the_history_each_epoch_once(tracked: Path, config: TrainingConfig) -> None:
    client = mlflow_client(settings_of(tracked.parent / "home").mlflow_address)
    run = only_run(client)
    for name in expected_figures(tracked, config)[1]:
        found = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        assert len(client.get_metric_history(run.info.run_id, name)) == EPOCHS, name
        assert found == {number: each[name] for number, each in expected_figures(tracked, config).items()}, name
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a 'run'")
    assert run.data.tags["acgan.job"] == json.loads((tracked / "tracking.json").read_text())["run"]
    assert run.data.tags.keys() >= {"acgan.name", "acgan.version", "acgan.device", "acgan.dataset_checksum"}
    assert run.data.params["recipe"] == "sharp"
    assert run.data.params["adam_lr"] == str(config.adam_lr)
    for number in (1, 2, 3):
        picture = Path(client.download_artifacts(run.info.run_id, f"samples/epoch-{number:03d}.png"))
        assert picture.read_bytes() == (tracked / f"plot_epoch_{number:03d}_generated.png").read_bytes()


def test_mlflow_gets_the_values_of_a_run_that_started_again(tmp_path: Path) -> None:
    tracker_of = load_tracker("mlflow")
    target = TrackingTarget(tmp_path, (tmp_path / "mlruns").as_uri())
    for values in ([1.0, 2.0], [3.0, 2.0], [3.0, 2.0]):
        tracker = tracker_of(TrackedRun("run-1", "run-1", {}, {}), target, 1)
        for epoch, value in enumerate(values, 1):
            tracker.send_figures(TrackedEpoch(epoch, {"loss": value}, None))
    client = mlflow_client(target.mlflow_uri)
    history = client.get_metric_history(only_run(client).info.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 1.0), (1, 3.0), (2, 2.0)]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("server", ["refuses", "hangs"])
def test_a_broken_server_changes_no_weights_and_is_reported(
    server: str,
    silent_server: str,
    config: TrainingConfig,
    untracked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if server == "hangs":
        monkeypatch.setattr(session, "FLUSH_SECONDS", 1.0)
    address = silent_server if server == "hangs" else "http://user:hunter22@127.0.0.1:9"
    settings = settings_of(tmp_path / "home", report_to=BOTH, mlflow_tracking_uri=address)
    printed = train(config, settings, tmp_path / "run")
    assert "warning: the tracker mlflow did not receive the figures of 3 epochs from 1 to 3: " in printed
    assert ("does not respond" if server == "hangs" else "Connection refused") in printed
    assert "hunter22" not in printed
    assert weights(tmp_path / "run") == weights(untracked)
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def run_job(config: TrainingConfig, settings: WorkerSettings) -> Job:
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config))).id
    run_next_job(settings)
    return ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id))


def test_a_worker_reports_its_jobs(config: TrainingConfig, redis_url: str) -> None:
    settings = WorkerSettings(redis_url=redis_url, report_to=BOTH)
    job = run_job(config, settings)
    assert (job.status, job.warnings, job.trouble) == (JobStatus.SUCCEEDED, [], None)
    client = mlflow_client(settings.mlflow_address)
    run = only_run(client)
    assert (run.data.tags["acgan.job"], run.info.status) == (job.id, "FINISHED")
    assert [path.name for path in (settings.home / "tensorboard").iterdir()] == [job.id]
    for name, row in (
        ("generator", job.epochs[-1].losses.generator),
        ("discriminator", job.epochs[-1].losses.discriminator),
    ):
        assert run.data.metrics[f"loss/{name}_test_loss"] == row.test.loss


def test_a_worker_whose_tracker_is_down_adds_a_warning_to_the_record(config: TrainingConfig, redis_url: str) -> None:
    job = run_job(
        config, WorkerSettings(redis_url=redis_url, report_to="mlflow", mlflow_tracking_uri="http://127.0.0.1:9")
    )
    assert (job.status, len(job.epochs)) == (JobStatus.SUCCEEDED, EPOCHS)
    (warning,) = job.warnings
    assert warning == (
        "the tracker mlflow did not receive the figures of 3 epochs from 1 to 3: the worker's log has the reason"
    )
