"""Whether this process can still use its device.

After some errors of a GPU, such as an illegal memory access, no CUDA call of the process succeeds. The server then
ends (app/server/server.py), so that a new process is started.
"""

import logging

import torch

from models.devices import DeviceOutOfMemory
from models.errors import Unavailable
from models.torch_device import explanation, is_broken

logger = logging.getLogger(__name__)

DEVICE_ERRORS = (torch.AcceleratorError, torch.OutOfMemoryError)


class DeviceBroken(Unavailable, code="device-broken"):
    """The process can no longer use its device. Another process can."""


class DeviceHealth:
    """Belongs to one process. Safe to use from any thread."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_broken = False

    def note(self, error: BaseException) -> None:
        """Remember, and log, whether the error shows that this process can no longer use its device."""
        if not self.is_broken and is_broken(error):
            self.is_broken = True
            logger.error("this process can no longer use its device %s: it ends; the cause: %s", self.device, error)

    def explain(self) -> Unavailable:
        """Return the error for a caller whose request met one of DEVICE_ERRORS."""
        if self.is_broken:
            return DeviceBroken("the device of the service has failed, and the service restarts: retry in a minute")
        return DeviceOutOfMemory(explanation(self.device, None))
