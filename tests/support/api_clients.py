"""Clients of an app in this process, with a host name that it accepts."""

from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient


def local_client(app: FastAPI, **options: Any) -> TestClient:
    return TestClient(app, base_url="http://localhost", **options)
