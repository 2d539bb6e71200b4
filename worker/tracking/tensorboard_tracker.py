"""TensorBoard: event files, written with TensorBoard's own writer."""

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from worker.tracking.tracker import Outcome, TrackedEpoch, TrackedRun, TrackingTarget

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes into `tensorboard/<run>`. TensorBoard ignores events of earlier files from `first_epoch` on."""

    def __init__(self, run: TrackedRun, target: TrackingTarget, first_epoch: int) -> None:
        self.writer = SummaryWriter(target.folder / FOLDER / run.id, purge_step=first_epoch)
        if first_epoch == 1:
            self._describe(run)

    def _describe(self, run: TrackedRun) -> None:
        table = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in run.tags.items())]
        self.writer.add_text("run", "\n".join(table), 1)
        for summary in hparams(dict(run.parameters), {"loss/generator_test_loss": 0}):
            self.writer._get_file_writer().add_summary(summary)

    def send_figures(self, epoch: TrackedEpoch) -> None:
        for name, value in epoch.figures.items():
            self.writer.add_scalar(name, value, epoch.epoch, walltime=epoch.at)
        self.writer.flush()

    def send_picture(self, epoch: int, picture: np.ndarray) -> None:
        self.writer.add_image("samples", picture, epoch, dataformats="HW")
        self.writer.flush()

    def end(self, outcome: Outcome) -> None:
        self.writer.close()
