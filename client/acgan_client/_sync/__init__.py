"""The synchronous client. client/make_sync.py writes the modules of this package."""
