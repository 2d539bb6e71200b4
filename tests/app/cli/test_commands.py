"""The files of the commands: each command is in that of its name or of its family, and all end with errors alike."""

import builtins
import re
from collections.abc import Callable
from keyword import iskeyword
from pathlib import Path

import pytest

from app.cli.application import GROUPS, PANELS

MEMBERS = {f"{group} {name}": command for group, (_, members) in GROUPS.items() for name, command in members.items()}
COMMANDS = {name: command for commands in PANELS.values() for name, command in commands.items()}
FAMILIES = {
    "control": ["cancel", "resume", "retry", "front", "label"],
    "checkpoints": ["checkpoints", "serving"],
    "import_checkpoint": ["import"],  # a keyword of Python
}
FILE_OF = {name: family for family, names in FAMILIES.items() for name in names}
FOLDER = Path(__file__).parents[3] / "app" / "cli" / "commands"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_is_in_the_file_of_its_name_or_of_its_family(name: str, command: Callable[..., None]) -> None:
    module = FILE_OF.get(name, name.replace("-", "_"))
    assert command.__module__ == f"app.cli.commands.{module}"
    assert command.__name__ == (module if iskeyword(name) else name.replace("-", "_"))


@pytest.mark.parametrize(("name", "command"), MEMBERS.items(), ids=MEMBERS)
def test_a_command_of_a_group_is_in_the_file_of_the_group(name: str, command: Callable[..., None]) -> None:
    group, _, member = name.partition(" ")
    assert command.__module__ == f"app.cli.commands.{group.replace('-', '_')}"
    assert command.__name__ == (f"{member}_" if hasattr(builtins, member) else member)


def test_every_file_holds_a_command() -> None:
    commands = [*COMMANDS.values(), *MEMBERS.values()]
    assert {path.stem for path in FILES} == {command.__module__.rpartition(".")[2] for command in commands}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_command_that_fails_prints_a_sentence(path: Path) -> None:
    """Exit codes other than 0 come only from `fail`, which prints the sentence too."""
    assert re.findall(r"typer\.Exit\(|typer\.Abort|SystemExit|sys\.exit|os\._exit", path.read_text()) == []
