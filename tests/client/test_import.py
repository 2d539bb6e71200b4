"""A generator that the client sends, over the real service."""

from pathlib import Path

import pytest

from acgan_client import Client, Misconfigured
from acgan_client.problems import InvalidUpload
from tests.app.conftest import fresh_weights
from tests.client.test_client import address, service_client

__all__ = ["address", "service_client"]


def test_a_generator_is_imported_from_its_file_or_its_bytes(service_client: Client, tmp_path: Path) -> None:
    file = tmp_path / "generator.safetensors"
    file.write_bytes(fresh_weights(7))
    made = service_client.import_checkpoint(file, name="mine", recipe="sharp")
    assert (made.config.name, made.config.recipe, made.losses) == ("mine", "sharp", None)
    again = service_client.import_checkpoint(fresh_weights(7))
    assert (again.model_dump(), made.is_new, again.is_new) == (made.model_dump(), True, False)
    assert service_client.serving().serving == made.id
    with pytest.raises(InvalidUpload, match="not a safetensors file"):
        service_client.import_checkpoint(b"nothing")
    with pytest.raises(Misconfigured, match="there is no file"):
        service_client.import_checkpoint(tmp_path / "none")
