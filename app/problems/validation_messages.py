"""Messages for pydantic's validation errors, shared by the API and the command line."""

from collections.abc import Mapping
from typing import Any

from models.data.building.order import A_FILE_NAME, FILE_NAME
from models.data.reference import A_NAME, REFERENCE

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
PATTERNS = {REFERENCE: A_NAME, FILE_NAME: A_FILE_NAME}  # what a text that matches is


def reason(found: Mapping[str, Any]) -> str:
    """Return the message of one error, to follow the name of a field: `should be at least 1`."""
    if found["type"] in SHOULD:
        bounds = {name: plain(value) for name, value in found.get("ctx", {}).items()}
        return f"should {SHOULD[found['type']].format(**bounds)}"
    if found["type"] == "string_pattern_mismatch" and found["ctx"]["pattern"] in PATTERNS:
        return f"should be {PATTERNS[found['ctx']['pattern']]}"
    message: str = found["msg"]
    return message.removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")


def plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def shown(text: str, length: int = 80) -> str:
    """Return the first `length` characters of an untrusted text, with unprintable characters escaped."""
    return text[:length] if text[:length].isprintable() else repr(text[:length])[1:-1]


def but_is(value: Any) -> str:
    """Return `, not VALUE` for a string or a number, else an empty string."""
    if isinstance(value, str):
        return f", not {value[:80]!r}"
    return f", not {value}" if isinstance(value, int | float) else ""
