"""Which code this is."""

from importlib import metadata


def code_version() -> str:
    """The installed version, or `source` where the code runs uninstalled."""
    try:
        return metadata.version("acgan")
    except metadata.PackageNotFoundError:
        return "source"
