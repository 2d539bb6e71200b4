"""Traces are off by default. tests/integrations has the tests with OpenTelemetry's SDK."""

import logging
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from worker.observability import tracing
from worker.observability.log_config import make_formatter
from worker.settings import WorkerSettings

NOW = datetime.now(UTC)
WITHOUT_SDK = "import sys; sys.modules['opentelemetry.sdk'] = None; from app.cli import main; main()"
LOADED = """
import sys
import worker.tasks
from worker.observability import tracing
with tracing.span("phase"):
    tracing.note({"attribute": 1})
worker.tasks.tracing.start(worker.tasks.settings, "worker")
sys.exit(bool({"opentelemetry.exporter", "opentelemetry.sdk.trace"} & set(sys.modules)))
"""


def test_without_the_setting_everything_works_and_nothing_is_recorded() -> None:
    assert tracing.start(WorkerSettings(), "worker") is None
    with tracing.span("phase", {"attribute": 1}, parent="00-invalid"):
        tracing.note({"attribute": 1}, failed=True)
        tracing.link("00-invalid")
        tracing.record("queue", NOW, NOW, {}, "")
        assert (tracing.traceparent(), tracing.headers(), tracing.trace_id()) == ("", {}, "")
        assert tracing.traced("phase", lambda n: n + 1)(1) == 2
        record = logging.LogRecord("worker", logging.INFO, "file.py", 1, "a line", (), None)
        assert "trace_id" not in make_formatter(json=True).format(record)
    tracing.stop()


def test_without_the_setting_a_worker_does_not_import_opentelemetry() -> None:
    """Redis' client imports other parts, if they are installed."""
    assert subprocess.run([sys.executable, "-c", LOADED], check=False).returncode == 0


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_command_without_the_extra_ends_with_a_sentence(command: str) -> None:
    environment = {**os.environ, "ACGAN_TRACING": "on"}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK, command], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: tracing (ACGAN_TRACING) should be off until OpenTelemetry's SDK and exporter are installed "
        "(pip install 'acgan[tracing]'), not 'on'\n"
    )
