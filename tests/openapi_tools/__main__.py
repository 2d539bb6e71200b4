"""Write the OpenAPI document of a service with default settings: python -m tests.openapi_tools FILE."""

import sys
from pathlib import Path

from app.api.routes.static import openapi_file
from app.main import create_app
from app.settings import AppSettings


def write(path: Path) -> None:
    path.write_bytes(openapi_file(create_app(AppSettings()), "").data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
