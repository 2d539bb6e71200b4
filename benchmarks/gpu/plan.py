"""The parts of the benchmark in the order in which they run, and the time limit of each. Free of torch."""

from typing import NamedTuple


class Part(NamedTuple):
    """One part. It runs in a separate process and is killed at its limit."""

    name: str
    seconds: int  # its limit
    about: str


# The limits add up to more than TOTAL_SECONDS. If the first parts need all of theirs, `thorough`, which trains the
# epochs that fit, has less time than its limit, and `compiled` none.
PARTS = (
    Part("machine", 60, "versions, and the two upper bounds: bf16 matrix products and memory bandwidth"),
    Part("smoke", 80, "capture and replay of each recipe, and the end of an epoch, timed step by step"),
    Part("tests", 130, "pytest -m gpu"),
    Part("table", 85, "milliseconds per iteration, captured and eager; kernels by time"),
    Part("original", 100, "100 epochs of the original recipe, as `acgan train` runs them"),
    Part("thorough", 130, "`thorough` for the epochs that fit; the best generator, and its evaluation"),
    Part("compiled", 45, "the captured iteration under torch.compile"),
)
TOTAL_SECONDS = 540
GRACE_SECONDS = 8  # between SIGTERM and SIGKILL, both within the part's limit
RESULTS = "results.jsonl"
SUMMARY = "summary.md"
LOG = "log.txt"  # output of all parts
