"""A Redis server whose clock tests can set while it runs. Needs libfaketime."""

import glob
from pathlib import Path

from tests.conftest import RunningRedis

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


class RedisWithClock(RunningRedis):
    def __init__(self, folder: Path) -> None:
        self.clock = folder.with_name(f"{folder.name}.clock")
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.set_clock("+0")
        super().__init__(folder)

    def set_clock(self, offset: str) -> None:
        """Step the server's clock to the real time plus `offset`, as `+3600`, `-1d`, `+10y`."""
        beside = self.clock.with_suffix(".new")
        beside.write_text(f"{offset}\n")
        beside.rename(self.clock)

    def start(self) -> None:
        prefix = [
            *("env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={self.clock}"),
            *("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
        ]
        if self.server.command[0] != "env":
            self.server = self.server._replace(command=[*prefix, *self.server.command])
        super().start()
