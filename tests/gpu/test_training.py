"""Training on a GPU: the captured iteration against the plain one, and against the CPU."""

import contextlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import RecipeName, TrainingConfig
from models.data.dataset import Dataset
from models.devices import DeviceOutOfMemory
from models.networks.cuda_graph import CudaGraphStep
from models.networks.precision import settle_precision
from models.torch_device import describe_peak, explain_out_of_memory, release, reset_peak
from models.training import training_state
from models.training.fused.iteration import FusedIteration
from models.training.fused.kernels import TorchKernels, TritonKernels
from models.training.iteration import Iteration
from models.training.trainer import Trainer
from tests.gpu.conftest import CPU, small

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]


def train(trainer: Trainer, first: int, stop: int) -> dict[str, Tensor]:
    """Train some iterations of epoch 1. Returns copies of all tensors that training changes."""
    for iteration in range(first, stop):
        trainer.step(1, iteration)
    return {name: tensor.detach().to(CPU, copy=True) for name, tensor in trainer.tensors().items()}


def train_eagerly(trainer: Trainer) -> None:
    """Launch the kernels of the graph one by one."""
    trainer.iterate = trainer.compute


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    different = [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]
    assert different == []


@contextlib.contextmanager
def no_synchronization() -> Iterator[None]:
    """Every wait of the processor for the GPU raises RuntimeError inside this block."""
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_captured_iteration_computes_the_same_as_its_kernels_one_by_one(
    config: TrainingConfig, digits: Dataset, device: torch.device
) -> None:
    captured, eager = Trainer(config, digits, device), Trainer(config, digits, device)
    before = captured.generator.dense.weight.detach().clone()
    train_eagerly(eager)
    results = train(captured, 0, 3)
    assert not torch.equal(before, captured.generator.dense.weight)
    assert_equal(results, train(eager, 0, 3))


def test_the_iteration_is_captured(config: TrainingConfig, digits: Dataset, gpu: torch.device) -> None:
    trainer = Trainer(config, digits, gpu)
    trainer.step(1, 0)
    assert isinstance(trainer.iterate, CudaGraphStep)
    assert isinstance(getattr(trainer.iterate.launch, "__self__", None), torch.cuda.CUDAGraph)


def test_the_same_run_twice_gives_the_same_bits(config: TrainingConfig, digits: Dataset, device: torch.device) -> None:
    first, second = (train(Trainer(config, digits, device), 0, 3) for _ in range(2))
    assert_equal(first, second)


def test_a_run_resumed_in_a_new_graph_equals_the_undisturbed_run(
    config: TrainingConfig, digits: Dataset, device: torch.device
) -> None:
    undisturbed = Trainer(config, digits, device)
    expected = [result.losses for result in undisturbed.run()]
    first = Trainer(config, digits, device)
    first.step(1, 0)
    first.iteration = 1
    second = Trainer(config, digits, device)
    second.load_state(training_state.from_bytes(training_state.to_bytes(first.state())))
    assert [result.losses for result in second.run()] == expected
    assert_equal(train(undisturbed, 0, 0), train(second, 0, 0))


def test_the_graph_continues_from_a_loaded_state(config: TrainingConfig, digits: Dataset, device: torch.device) -> None:
    """The graph was captured before, so loading must change tensors in place."""
    other, trainer = Trainer(config, digits, device), Trainer(config, digits, device)
    train(trainer, 0, 2)
    train(other, 0, 1)
    trainer.load_state(other.state())
    assert_equal(train(trainer, 1, 3), train(other, 1, 3))


def test_an_iteration_never_waits_for_the_gpu(config: TrainingConfig, digits: Dataset, gpu: torch.device) -> None:
    trainer = Trainer(config, digits, gpu)
    trainer.step(1, 0)
    with no_synchronization():
        trainer.step(1, 1)
        trainer.step(1, 2)


def test_the_check_for_synchronization_can_fail(gpu: torch.device) -> None:
    value = torch.ones((), device=gpu)
    with no_synchronization(), pytest.raises(RuntimeError):
        value.item()


def test_if_the_capture_fails_training_continues_with_the_same_results(device: torch.device) -> None:
    """The iteration reads a value, which a capture forbids. On the CPU, without a capture, only equality is tested."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.gpu.failed_capture"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ("capture failed" in ran.stderr) == (device.type == "cuda")


def test_too_little_memory_raises_a_sentence_and_the_gpu_stays_usable(gpu: torch.device) -> None:
    sentence = "too little memory for a training with batches of 100 images: .* GiB were free"
    with pytest.raises(DeviceOutOfMemory, match=sentence), explain_out_of_memory(gpu, 100):
        torch.empty(1 << 50, dtype=torch.uint8, device=gpu)
    release(gpu)
    reset_peak(gpu)
    before = torch.cuda.memory_allocated(gpu)  # libraries keep workspaces, cuBLAS one of 32 MiB
    assert torch.ones(1 << 28, device=gpu).sum() == 1 << 28
    peak = torch.cuda.max_memory_allocated(gpu)
    assert before + 2**30 <= peak < before + 2**30 + 2**24
    assert f"{peak / 2**30:.2f} GiB allocated" in str(describe_peak(gpu))


def test_the_iteration_has_triton_kernels(config: TrainingConfig, gpu: torch.device) -> None:
    """They need a C compiler on the machine. Without one the log gives the reason, and training is slower."""
    iteration = FusedIteration(config, settle_precision(config.precision, gpu), gpu)
    assert isinstance(iteration.kernels, TritonKernels)


def test_triton_kernels_compute_the_losses_of_their_reference(
    recipe: RecipeName, digits: Dataset, device: torch.device
) -> None:
    """Dropout included: both get the same random bits."""
    config, rows = small(recipe=recipe, precision="fp32"), []
    for kernels in (None, TorchKernels()):
        iteration = FusedIteration(config, "fp32", device)
        iteration.kernels = kernels or iteration.kernels
        rows.append(losses_of_one_iteration(iteration, digits))
    triton, reference = rows
    assert (triton / reference - 1).abs().max() < 1e-3


def losses_of_one_iteration(iteration: Iteration, digits: Dataset) -> Tensor:
    torch.manual_seed(3)
    batch = iteration.config.batch_size
    iteration(digits.train_images[:batch].to(iteration.device), digits.train_labels[:batch].to(iteration.device))
    return torch.cat((iteration.discriminator_losses, iteration.generator_losses))


def test_the_fused_iteration_computes_the_plain_ones_losses(
    recipe: RecipeName, digits: Dataset, device: torch.device
) -> None:
    """In the first iteration, with the same random numbers, without dropout: later the runs diverge, as Adam amplifies
    rounding. tests/models/training/fused/test_iteration.py compares them in float64.
    """
    config, rows = small(recipe=recipe, precision="fp32"), []
    for kind in (Iteration, FusedIteration):
        iteration = kind(config, "fp32", device)
        for module in iteration.discriminator.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        rows.append(losses_of_one_iteration(iteration, digits))
    plain, fused = rows
    assert (fused / plain - 1).abs().max() < 1e-3


def test_gpu_and_cpu_agree_in_float32(digits: Dataset, device: torch.device) -> None:
    """In inference mode; in training they draw different random numbers."""
    config = small(precision="fp32")
    noise, labels = torch.rand(20, 100) * 2 - 1, torch.arange(20) % 10
    results = []
    with torch.inference_mode():
        for trainer in (Trainer(config, digits, CPU), Trainer(config, digits, device)):
            trainer.generator.eval(), trainer.discriminator.eval()
            images = trainer.generator(noise.to(trainer.device), labels.to(trainer.device))
            results.append((images.cpu(), *(logits.cpu() for logits in trainer.discriminator(images))))
    for cpu, gpu in zip(*results, strict=True):
        assert (cpu - gpu).abs().max() < 1e-4


def test_float32_is_not_rounded_to_tf32(gpu: torch.device) -> None:
    """TF32 keeps 10 bits: with eight terms a sum would be off by about 2e-4."""
    a, b = torch.rand(256, 8), torch.rand(8, 256)
    assert ((a.to(gpu) @ b.to(gpu)).cpu() / (a.double() @ b.double()) - 1).abs().max() < 3e-5
    image, kernel = torch.rand(8, 4, 16, 16), torch.rand(64, 4, 3, 3)
    exact = F.conv2d(image.double(), kernel.double())
    assert (F.conv2d(image.to(gpu), kernel.to(gpu)).cpu() / exact - 1).abs().max() < 3e-5
