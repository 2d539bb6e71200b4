"""CUDA graphs: one launch for all kernels of a training step. A GPU runs kernels faster than Python launches them."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

WARM_UP = 3  # calls before a capture, during which libraries choose their kernels and allocate their workspaces


class CudaGraphStep:
    """A function of a batch, over buffers with fixed addresses; on a GPU a CUDA graph, captured once and replayed.

    The function may change, in place, only the tensors in `changes`. It must return nothing and must not read the value
    of a tensor. The first call captures the graph and restores these tensors and the random state. Seeds set between
    calls determine the random numbers of a replay. All calls take tensors of the same shapes as the first.

    If the capture fails, the reason is logged and the function runs without a graph: same results, slower.
    """

    def __init__(self, function: Callable[..., None], changes: Collection[Tensor], device: torch.device) -> None:
        self.function = function
        self.changes = changes
        self.device = device
        self.buffers: tuple[Tensor, ...] = ()
        self.launch: Callable[[], None] | None = None

    def __call__(self, *batch: Tensor) -> None:
        if self.launch is None:
            self.buffers = tuple(tensor.clone() for tensor in batch)
            with unchanged(self.changes, self.device):
                self.launch = self.prepare()
        for buffer, tensor in zip(self.buffers, batch, strict=True):
            buffer.copy_(tensor)
        self.launch()

    def prepare(self) -> Callable[[], None]:
        if self.device.type != "cuda":
            self.run_eagerly()
            return self.run_eagerly
        try:
            return self.capture()
        except RuntimeError as error:
            logger.warning("the CUDA graph capture failed; steps run kernel by kernel, which is slower: %s", error)
            with contextlib.suppress(RuntimeError, AttributeError):
                reset_random_state(self.device)
            return self.run_eagerly

    def run_eagerly(self) -> None:
        self.function(*self.buffers)

    def capture(self) -> Callable[[], None]:
        """Record the graph. Raises RuntimeError if the function cannot be captured."""
        with torch.cuda.device(self.device):  # torch.cuda.graph waits for the current device, which opens a context
            stream, graph, pool = torch.cuda.Stream(self.device), torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
            before = torch.cuda.current_stream(self.device)
            stream.wait_stream(before)
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    self.run_eagerly()
            before.wait_stream(stream)
            try:
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    self.run_eagerly()
            except BaseException:
                torch.cuda.set_stream(before)
                end_allocation(pool)
                raise
        return graph.replay


def end_allocation(pool: tuple[int, int]) -> None:
    """End the allocation to the pool of a capture that failed, on the current device; torch only does it at success.

    Until then the allocator treats the process as capturing and returns no memory to the device.
    """
    with contextlib.suppress(RuntimeError, AttributeError):  # the first call raises if the allocation has ended
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        torch._C._cuda_releasePool(torch.cuda.current_device(), pool)


def reset_random_state(device: torch.device) -> None:
    """Give the device's default generator a new state: a capture that failed may leave it in capture mode."""
    index = torch.cuda.current_device() if device.index is None else device.index
    fresh = torch.Generator(torch.device("cuda", index))
    torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())


@contextlib.contextmanager
def unchanged(tensors: Collection[Tensor], device: torch.device) -> Iterator[None]:
    """Restore the tensors' values, in place, and the states of the random generators at the end of the block."""
    values = [tensor.detach().clone() for tensor in tensors]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
