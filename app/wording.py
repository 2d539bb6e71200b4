"""What is wrong with a value, in words for people: pydantic's findings, as an API and a command line tell them."""

from collections.abc import Mapping
from typing import Any

SHOULD = {
    "greater_than": "be more than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "int_type": "be a whole number",
    "int_parsing": "be a whole number",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "float_parsing": "be a number",
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "string_type": "be text",
}


def reason(found: Mapping[str, Any]) -> str:
    """Say one finding after the name of what it is about: `should be at least 1`."""
    if found["type"] in SHOULD:
        bounds = {name: plain(value) for name, value in found.get("ctx", {}).items()}
        return f"should {SHOULD[found['type']].format(**bounds)}"
    message: str = found["msg"]
    return message.removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")


def plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def shown(text: str, length: int = 80) -> str:
    """The beginning of a text from outside, with control characters and the like written as escapes."""
    return text[:length] if text[:length].isprintable() else repr(text[:length])[1:-1]


def but_is(value: Any) -> str:
    """Say what it is instead, where that is short enough to be told."""
    if isinstance(value, str):
        return f", not {value[:80]!r}"
    return f", not {value}" if isinstance(value, int | float) else ""
