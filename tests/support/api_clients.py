"""Clients of an app in this process, which ask for a host name that it answers to."""

from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient


def local_client(app: FastAPI, **options: Any) -> TestClient:
    return TestClient(app, base_url="http://localhost", **options)
