"""A CUDA driver without a GPU, for captures: it has two devices, their current streams, and the pools of the allocator.

torch's own context managers `device`, `stream` and `graph` run on it. Only the second device multiplies bf16.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple, Self
from unittest import mock

import torch

Failing = Literal["begin", "end", None]  # of a capture

POOL = (0, 7)


class SimulatedStream(NamedTuple):
    device: torch.device
    stream_id: int

    def wait_stream(self, other: Self) -> None:
        assert other.device == self.device


class SimulatedDriver:
    """The state of the driver for one thread. A capture can fail as it does on a GPU: when it begins or ends."""

    def __init__(self, failing: Failing = None) -> None:
        self.failing = failing
        self.device = 0
        self.current = [SimulatedStream(torch.device("cuda", index), 0) for index in range(2)]
        self.synchronized: list[int] = []  # devices whose contexts were opened
        self.capturing: list[tuple[int, tuple[int, int]]] = []  # devices and pools
        self.kept: list[tuple[int, tuple[int, int]]] = []  # pools that the allocator keeps for a graph
        self.replays = 0

    def exchange_device(self, index: int) -> int:
        before = self.device
        if index >= 0:
            self.device = index
        return before

    def current_stream(self, device: torch.device | None = None) -> SimulatedStream:
        return self.current[self.device if device is None or device.index is None else device.index]

    def set_stream(self, stream: SimulatedStream) -> None:
        self.device = stream.device.index
        self.current[stream.device.index] = stream

    def make_stream(self, device: torch.device) -> SimulatedStream:
        return SimulatedStream(torch.device("cuda", self.device if device.index is None else device.index), 1)

    def end_allocation(self, device: int, pool: tuple[int, int]) -> None:
        if (device, pool) not in self.capturing:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.capturing.remove((device, pool))

    def release_pool(self, device: int, pool: tuple[int, int]) -> None:
        self.kept.remove((device, pool))

    # ----------------------------------------------------------------------------
    # torch.cuda.CUDAGraph.

    def capture_begin(self, pool: tuple[int, int] = (0, 1), **_: Any) -> None:
        assert self.current_stream().stream_id == 1
        self.capturing.append((self.device, pool))
        self.kept.append((self.device, pool))
        if self.failing == "begin":
            raise RuntimeError("the capture did not begin")

    def capture_end(self) -> None:
        if self.failing == "end":
            raise RuntimeError("operation failed due to a previous error during capture")
        self.end_allocation(*self.capturing[-1])

    def replay(self) -> None:
        self.replays += 1


@contextmanager
def simulated_driver(driver: SimulatedDriver) -> Iterator[SimulatedDriver]:
    with ExitStack() as stack:
        for target, replacement in (
            ("torch.cuda.is_available", lambda: True),
            ("torch.cuda.is_bf16_supported", lambda **_: driver.device == 1),
            ("torch.cuda.current_device", lambda: driver.device),
            ("torch.cuda._exchange_device", driver.exchange_device),
            ("torch.cuda._maybe_exchange_device", driver.exchange_device),
            ("torch.cuda.current_stream", driver.current_stream),
            ("torch.cuda.set_stream", driver.set_stream),
            ("torch.cuda.Stream", driver.make_stream),
            ("torch.cuda.CUDAGraph", lambda: driver),
            ("torch.cuda.graph_pool_handle", lambda: POOL),
            ("torch.cuda.synchronize", lambda: driver.synchronized.append(driver.device)),
            ("torch.cuda.empty_cache", lambda: None),
            ("torch._C._host_emptyCache", lambda: None),
            ("torch._C._cuda_endAllocateToPool", driver.end_allocation),
            ("torch._C._cuda_releasePool", driver.release_pool),
        ):
            stack.enter_context(mock.patch(target, replacement, create=True))
        yield driver
