"""Which class a text means."""

import pytest

from models.data.class_names import MOST_SHOWN, ClassNotFound, label_of


@pytest.mark.parametrize(
    ("text", "classes", "label"),
    [
        ("b", ("a", "b"), 1),
        ("1", ("a", "b"), 1),
        ("8", ("3", "8"), 1),  # the name, not the label
        ("1", ("1", "0"), 0),
        ("01", ("a", "b"), 1),
        ("B", ("a", "b"), 1),
        ("a", ("A", "a"), 1),  # exactly, although both are equal without upper case
        ("STRASSE", ("stra\u00dfe", "weg"), 0),
        ("e\u0301", ("\u00e9", "e"), 0),  # two forms of the same character
        ("\u00c9", ("e\u0301", "e"), 0),
        ("99", tuple(f"c{number}" for number in range(100)), 99),
    ],
)
def test_a_text_is_a_name_or_a_label(text: str, classes: tuple[str, ...], label: int) -> None:
    assert label_of(text, classes) == label


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("c", ("a", "b")),
        ("2", ("a", "b")),
        ("-1", ("a", "b")),
        ("1.0", ("a", "b")),
        ("\u0661", ("a", "b")),  # a digit, but not of ASCII
        ("", ("a", "b")),
        (" a", ("a", "b")),
        ("ab", ("AB", "aB")),  # two classes
        ("9" * 300, ("a", "b")),
    ],
)
def test_another_text_names_the_classes(text: str, classes: tuple[str, ...]) -> None:
    with pytest.raises(ClassNotFound, match=f"the classes are {', '.join(classes)}$") as raised:
        label_of(text, classes)
    assert len(str(raised.value)) < 200


def test_a_message_has_a_bounded_length() -> None:
    names = tuple(f"class number {number:03d} {'x' * 200}" for number in range(100))
    with pytest.raises(ClassNotFound, match=r"class number 000 x.*, and more: there are 100$") as raised:
        label_of("a", names)
    assert len(str(raised.value)) < MOST_SHOWN + 200
