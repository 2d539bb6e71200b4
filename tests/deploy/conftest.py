from tests.app.conftest import client, settings, store

__all__ = ["client", "settings", "store"]
