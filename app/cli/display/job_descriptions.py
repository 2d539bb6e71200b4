"""What jobs make, in a few words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Job


def describe_job(job: "Job") -> str:
    """Return what a job makes, in a few words."""
    if made := job.training_data:
        return f"training data {made.name} of {made.file}"
    if order := job.order:
        return f"data set of {order.per_class + order.test_per_class:,} images of each class by {order.checkpoint}"
    if evaluated := job.evaluation:
        return f"evaluation of {evaluated.checkpoint}, {evaluated.effort}"
    return f"{count_epochs(job.config.epochs)} of {job.config.dataset}, recipe {job.config.recipe}"


def count_epochs(count: int) -> str:
    return f"{count} epoch" if count == 1 else f"{count} epochs"
