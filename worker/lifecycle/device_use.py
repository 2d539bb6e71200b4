"""The use of the device by one task. A process whose device is broken ends, so that the pool starts a new one.

After some errors of a GPU, such as an illegal memory access, no CUDA call of the process succeeds. If the process
stayed, it would take and fail every job of the queue.
"""

import logging
import os
from collections.abc import Callable

from models.torch_device import is_broken
from worker.lifecycle.lease import EXIT_CODE
from worker.observability import tracing

logger = logging.getLogger(__name__)


class DeviceUse:
    """Belongs to one task. `note` its errors, and call `end` after its last write."""

    def __init__(self, end_process: Callable[[int], None] = os._exit) -> None:
        self.end_process = end_process
        self.is_broken = False

    def note(self, error: BaseException) -> None:
        """Remember whether the error shows that this process can no longer use its device."""
        self.is_broken = self.is_broken or is_broken(error)

    def end(self, release: Callable[[], None]) -> None:
        """Call `release`, which frees memory of the device, or end the process if the device is broken.

        The device is also broken if `release` raises RuntimeError.
        """
        if not self.is_broken:
            try:
                release()
            except RuntimeError as error:
                logger.error("the memory of the device cannot be released: %s", error)
                self.is_broken = True
        if self.is_broken:
            logger.error("this process can no longer use its device: ending the process, so that a new one starts")
            tracing.stop()
            self.end_process(EXIT_CODE)
