"""The version of the client. It equals that of the service."""

__version__ = "0.2.0"
