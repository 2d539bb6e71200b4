"""The version of the running code."""

from importlib import metadata


def code_version() -> str:
    """Return the installed version, or `source` if the package is not installed."""
    try:
        return metadata.version("acgan")
    except metadata.PackageNotFoundError:
        return "source"
