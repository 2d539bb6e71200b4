"""Trains with an iteration that cannot be captured, and with a plain one: python -m tests.gpu.failed_capture

A separate process, since CUDA may be unusable after a failed capture. The exit code is 0 if the states are equal, and
the failed capture has left neither its stream as the current one nor an allocator that returns no memory.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from models.data.dataset import load_dataset
from models.networks.cuda_graph import CudaGraphStep
from models.torch_device import find_device
from models.training.trainer import Trainer
from tests.gpu.conftest import small


def main() -> None:
    device, config = find_device("auto"), small()
    with tempfile.TemporaryDirectory() as cache:
        digits = load_dataset(config, None, Path(cache), [])
    failing, eager = Trainer(config, digits, device), Trainer(config, digits, device)

    def reads_a_value(pixels: Tensor, classes: Tensor) -> None:
        failing.compute(pixels, classes)
        failing.compute.generator_losses.sum().item()

    failing.iterate = CudaGraphStep(reads_a_value, failing.tensors().values(), device)
    eager.iterate = eager.compute
    for iteration in range(3):
        failing.step(1, iteration)
        eager.step(1, iteration)
    expected = eager.tensors()
    different = [name for name, tensor in failing.tensors().items() if not torch.equal(tensor, expected[name])]
    if different:
        sys.exit(f"these tensors differ: {', '.join(different)}")
    if device.type == "cuda":
        check_device(device)


def check_device(device: torch.device) -> None:
    if torch.cuda.current_stream(device) != torch.cuda.default_stream(device):
        sys.exit("the stream of the capture is still the current one")
    before = torch.cuda.memory_reserved(device)
    torch.empty(2**30, dtype=torch.uint8, device=device)
    torch.cuda.empty_cache()
    if torch.cuda.memory_reserved(device) >= before + 2**30:
        sys.exit("the allocator does not return memory to the device")


if __name__ == "__main__":
    main()
