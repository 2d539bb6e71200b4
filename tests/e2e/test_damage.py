"""With damage in the middle of Redis' append-only file, `acgan up` reports it in a sentence and serves digits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from app.server.embedded_redis import APPENDED
from models.registry.store import CheckpointStore
from tests.app.conftest import publish
from tests.app.server.test_embedded_redis import damage
from tests.faults.world import TINY
from tests.models.registry.test_store import OLD
from tests.support.running_service import running


def test_a_damaged_append_only_file_is_reported_and_digits_are_served(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(CheckpointStore(home / "checkpoints"), OLD, 1, seed=1)
    with running(home) as service:
        api = service.find("app.cli serve")
        service.train(**TINY)
        with service.without_restarts():
            os.kill(service.find("-server 127.0.0.1"), signal.SIGKILL)
            path = next((home / "redis" / APPENDED).glob("*.incr.aof"))
            damage(path, b"\r\n*", b"\r\nZ")
        result = f"Redis cannot start, because {path} is damaged: copy it, then truncate it at the damage"
        service.until("the damage is logged", lambda: result in service.log.read_text())
        refused = service.client.post("/train", json=TINY)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert service.client.get("/digits/7?n=4").status_code == 200
        assert service.find("app.cli serve") == api
        service.stop()

    command = [sys.executable, "-m", "app.cli", "up", "--home", str(home), "--port", str(service.port)]
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 2
    assert again.stderr.startswith(f"error: {result}")
    assert again.stderr.count("\n") == 1
