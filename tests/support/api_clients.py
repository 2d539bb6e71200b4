"""Clients of an app in this process, with a host name that it accepts."""

from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from app.api.dependencies import services


def local_client(app: FastAPI, **options: Any) -> TestClient:
    return TestClient(app, base_url="http://localhost", **options)


def let_routes_raise(app: FastAPI, error: Exception) -> None:
    """Let every route that uses the services raise an error. A route of its own would appear in the metrics."""

    def fail() -> None:
        raise error

    app.dependency_overrides[services] = fail
