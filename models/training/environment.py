"""The environment that the results of a run depend on: on another machine they may differ in the last bits."""

import re

import torch

from models.records import Record
from models.torch_device import describe
from models.version import code_version

MAY_DIFFER = "the result may differ from an uninterrupted run's"
OF_A_STATE_WITHOUT = f"resumed from a state without a record of its environment: {MAY_DIFFER}"
START_THREADS = torch.get_num_threads()


class ComputeEnvironment(Record):
    """The environment in which a run began. A resumed run equals the uninterrupted one if none of it has changed."""

    code: str
    torch_version: str
    build: str
    cpu: str
    device: str
    threads: int

    @classmethod
    def current(cls, device: torch.device) -> "ComputeEnvironment":
        return cls(
            code=code_version(),
            torch_version=torch.__version__,
            build=str(torch.version.git_version),
            cpu=torch.backends.cpu.get_cpu_capability(),
            device=without_index(describe(device)) if device.type == "cuda" else str(device),
            threads=torch.get_num_threads(),
        )

    def differences(self, now: "ComputeEnvironment") -> list[str]:
        """Return one sentence for each difference. On a GPU, threads and the processor do not matter."""
        names = ["code", "torch_version", "build", "device"]
        if self.device == "cpu" == now.device:
            names += ["cpu", "threads"]
        compared = [one.model_copy(update={"device": without_index(one.device)}) for one in (self, now)]
        return [
            difference(WORDS[name], getattr(now, name), getattr(self, name))
            for name in names
            if len({getattr(one, name) for one in compared}) > 1
        ]


def without_index(device: str) -> str:
    """Return the description of a device without the index of a GPU, which does not change a result."""
    return re.sub(r"^cuda:\d+", "cuda", device)


def difference(word: str, now: str | int, began: str | int) -> str:
    """Return the warning that a run is resumed with another value of what `word` names than it began with."""
    return f"resumed with another {word} than it began with ({now}, not {began}): {MAY_DIFFER}"


WORDS = {
    "code": "version of acgan",
    "torch_version": "version of torch",
    "build": "build of torch",
    "cpu": "type of processor",
    "device": "device",
    "threads": "number of threads",
}


def use_threads(number: int) -> None:
    """Set the number of threads that torch computes with."""
    if number != torch.get_num_threads():
        torch.set_num_threads(number)


def reset_threads() -> None:
    """Restore the number of threads that this process started with."""
    use_threads(START_THREADS)
