"""The service of tests/app, for the client."""

from tests.app.conftest import consumer, settings, store

__all__ = ["consumer", "settings", "store"]
