"""The name of an imported run is one line of text, as that of a job, whether an option or the folder gives it."""

from pathlib import Path

import pytest

from app.cli.local.keras_import import NothingToImport, checked_name
from models.registry.store import CheckpointStore
from tests.app.cli.test_cli import acgan
from tests.models.interop.test_keras import write_like_keras

HIDDEN = ["a\nb", "a\x1b[31mb", "a\x07", "a\x9b2J", "a\u202eb", "a\u2028b", "a\x7f"]


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_name_with_control_characters_is_refused_and_nothing_is_published(
    tmp_path: Path, name: str, is_folder: bool
) -> None:
    if name != HIDDEN[1]:  # one by the command, since each needs a process
        with pytest.raises(NothingToImport, match="one line of text"):
            checked_name(name)
        return
    folder = tmp_path / (name if is_folder else "run")
    folder.mkdir()
    write_like_keras(folder / "params_generator_epoch_001.hdf5", "generator", "sequential_4/")
    ended = acgan(
        "import-keras", str(folder), "--home", str(tmp_path / "home"), *([] if is_folder else ["--name", name])
    )
    assert ended.returncode == 2, ended.stderr
    assert "one line of text without control characters" in " ".join(ended.stderr.split())
    assert "\x1b" not in ended.stderr
    assert not CheckpointStore(tmp_path / "home" / "checkpoints").manifests()


@pytest.mark.parametrize(("name", "expected"), [(" run 7 ", "run 7"), ("  ", None), (None, None), ("é", "é")])
def test_valid_names_are_kept(name: str | None, expected: str | None) -> None:
    assert checked_name(name) == expected
