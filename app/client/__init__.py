"""Deprecated: the Python client is the package `acgan_client`."""

import warnings

from acgan_client import (
    AsyncClient,
    Change,
    Client,
    ClientError,
    Drawn,
    JobStatus,
    Misconfigured,
    NotUnderstood,
    Refused,
    Unavailable,
    Unreachable,
)

__all__ = [
    "AsyncClient",
    "Change",
    "Client",
    "ClientError",
    "Drawn",
    "JobStatus",
    "Misconfigured",
    "NotUnderstood",
    "Refused",
    "Unavailable",
    "Unreachable",
]

warnings.warn("app.client is deprecated: use `from acgan_client import Client`", DeprecationWarning, stacklevel=2)
