"""The class that `acgan evolution` draws: found by name or number as the service finds it."""

import pytest
import typer

from app.cli.commands.evolution import ChosenClass, chosen_class
from models.data.catalog import DIGITS

CLOTHES = ("T-shirt/top", "Sneaker", "1")


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (DIGITS, None, ChosenClass(7, "7", "digit 7")),
        (DIGITS, "3", ChosenClass(3, "3", "digit 3")),
        (CLOTHES, None, ChosenClass(0, "0", "class T-shirt/top")),  # an address cannot contain this name
        (CLOTHES, "t-shirt/top", ChosenClass(0, "0", "class T-shirt/top")),
        (CLOTHES, "sneaker", ChosenClass(1, "Sneaker", "class Sneaker")),
        (CLOTHES, "1", ChosenClass(2, "1", "class 1")),  # a name before a number
        (CLOTHES, "0", ChosenClass(0, "0", "class T-shirt/top")),
        (("a/b", "0"), "a/b", ChosenClass(0, "00", "class a/b")),  # "0" is the name of the other
        (None, None, ChosenClass(None, "0", "class 0")),  # the service gives the reason
        (None, "q", ChosenClass(None, "q", "class q")),
    ],
)
def test_the_class_is_that_of_the_service(
    names: tuple[str, ...] | None, wanted: str | None, chosen: ChosenClass
) -> None:
    assert chosen_class(names, wanted) == chosen


def test_a_class_that_the_run_does_not_have_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        chosen_class(CLOTHES, "Boot")
    assert ended.value.exit_code == 2
    assert "there is no class 'Boot': the classes are T-shirt/top, Sneaker, 1" in capsys.readouterr().err
