"""`huggingface_hub` reads the model card that `acgan export --format huggingface` writes. Without a network."""

from pathlib import Path

import pytest

from app.cli.local.export_folder import export_folder
from app.settings import AppSettings
from models.registry import bundled

pytestmark = pytest.mark.integrations


def test_the_hub_library_reads_the_card(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    export_folder(AppSettings(pretrained=True), "latest", tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md", ignore_metadata_errors=False)
    data = card.data
    assert isinstance(data, ModelCardData)
    assert (data.license, data.library_name, data.datasets) == ("mit", "pytorch", ["mnist"])
    assert data.pipeline_tag == "unconditional-image-generation"
    first = bundled.checkpoint()
    assert first is not None
    manifest = bundled.STORE.manifest(first)
    assert data.model_name == manifest.id
    assert data.eval_results
    found = {result.metric_type: result.metric_value for result in data.eval_results}
    assert found == {name: manifest.metrics[name] for name in found}
    assert {"label_accuracy", "frechet_distance", "variety_least"} <= found.keys()
    assert {result.dataset_type for result in data.eval_results} == {"mnist"}
    assert ModelCard(str(card)).data.to_dict() == data.to_dict()  # unchanged when the library writes it
