"""MLflow: a server, or a folder of files. https://mlflow.org/docs/latest/ml/tracking/"""

import os
import tempfile
from pathlib import Path

import numpy as np

from models.sampling.png import encode_png
from worker.tracking.tracker import Outcome, TrackedEpoch, TrackedRun, TrackingTarget

# MLflow reads them at each request. A request that fails is repeated by our own thread, which can be stopped.
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)

from mlflow.entities import Metric, Param, Run  # noqa: E402  # after the defaults
from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

EXPERIMENT = "acgan"
JOB_TAG = "acgan.job"
STATUSES: dict[Outcome, str] = {
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
    "stopped": "SCHEDULED",
}


class MlflowTracker:
    """One MLflow run for each job, found by its tag. Values that the run already has are not sent again."""

    def __init__(self, run: TrackedRun, target: TrackingTarget, first_epoch: int) -> None:
        self.client = MlflowClient(tracking_uri=target.mlflow_uri)
        found = self._find(run) or self._create(run)
        self.run_id: str = found.info.run_id
        self._add_parameters(run, found)
        self.known = {name: self._values(name) for name in found.data.metrics}

    def _values(self, name: str) -> dict[int, float]:
        """Return the newest value of a metric for each step."""
        history = sorted(self.client.get_metric_history(self.run_id, name), key=lambda metric: metric.timestamp)
        return {metric.step: metric.value for metric in history}

    def _experiment(self) -> str:
        name = MLFLOW_EXPERIMENT_NAME.get() or EXPERIMENT
        if (found := self.client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        return str(self.client.create_experiment(name))

    def _find(self, run: TrackedRun) -> Run | None:
        self.experiment = self._experiment()
        found = self.client.search_runs([self.experiment], f"tags.`{JOB_TAG}` = '{run.id}'", max_results=1)
        for each in found:
            self.client.update_run(each.info.run_id, status="RUNNING")
        return found[0] if found else None

    def _create(self, run: TrackedRun) -> Run:
        tags = {f"acgan.{name}": value for name, value in run.tags.items()} | {JOB_TAG: run.id}
        return self.client.create_run(self.experiment, tags=tags, run_name=run.name)

    def _add_parameters(self, run: TrackedRun, found: Run) -> None:
        """Parameters of a run cannot change in MLflow: a resumed run keeps those that it has."""
        new = [Param(name, str(value)) for name, value in run.parameters.items() if name not in found.data.params]
        if new:
            self.client.log_batch(self.run_id, params=new, synchronous=True)

    def send_figures(self, epoch: TrackedEpoch) -> None:
        milliseconds = int(epoch.at * 1000)
        metrics = [
            Metric(name, value, milliseconds, epoch.epoch)
            for name, value in epoch.figures.items()
            if self.known.get(name, {}).get(epoch.epoch) != value
        ]
        if metrics:
            self.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def send_picture(self, epoch: int, picture: np.ndarray) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"epoch-{epoch:03d}.png"
            file.write_bytes(encode_png(picture))
            self.client.log_artifact(self.run_id, str(file), "samples")

    def end(self, outcome: Outcome) -> None:
        if outcome == "unknown":
            return
        if outcome == "stopped":
            self.client.update_run(self.run_id, status=STATUSES[outcome])
        else:
            self.client.set_terminated(self.run_id, STATUSES[outcome])
