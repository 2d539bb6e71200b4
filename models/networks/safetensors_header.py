"""The header of a safetensors file, checked before any tensor is read. Free of torch.

Layout: 8 bytes little-endian, the header's length; the header, JSON; the tensors' bytes without a gap.
https://huggingface.co/docs/safetensors
"""

import math
from typing import Any, NamedTuple

from models.bounded_reading import (
    HEAD,
    FileDamaged,
    FileNotUnderstood,
    FileTooLarge,
    FileTorn,
    foreign_kind,
    parse_json,
    printable,
)

HEADER_LIMIT = 1 << 20  # bytes; the largest header that acgan writes, of a run's state, has 20 KB
TENSORS_LIMIT = 4096
DIMENSIONS_LIMIT = 8
ITEM_SIZES = {  # in bytes
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


class TensorEntry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    begin: int  # offset of its first byte from the end of the header
    end: int


class Header(NamedTuple):
    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]


def read_header(data: bytes, name: str, size: int | None = None) -> Header:
    """Parse and check a header: lengths, types, shapes, and that the tensors fill the file exactly.

    `data` begins with the whole header; `size` is the file's in bytes, by default that of `data`; `name` is the file's,
    for messages. Raises FileInvalid.
    """
    size = len(data) if size is None else size
    if data[8:9] != b"{":
        kind = foreign_kind(data[:HEAD])
        raise FileNotUnderstood(f"{printable(name)} is {kind or 'not a safetensors file'}")
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_LIMIT:
        raise FileTooLarge(f"{printable(name)} has a header of {length:,} bytes, and at most {HEADER_LIMIT:,} are read")
    if 8 + length > min(size, len(data)):
        raise FileTorn(f"{printable(name)} ends early: within its header")
    parsed = parse_json(data[8 : 8 + length], HEADER_LIMIT, f"the header of {name}")
    if not isinstance(parsed, dict) or len(parsed) > TENSORS_LIMIT:
        raise FileNotUnderstood(f"{printable(name)} is not a safetensors file: its header is not a table of tensors")
    metadata = parsed.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FileNotUnderstood(f"{printable(name)} is not a safetensors file: its metadata is not a table of strings")
    tensors = {key: _entry(fields, key, name) for key, fields in parsed.items()}
    _check_layout(tensors, size - 8 - length, name)
    return Header(metadata, tensors)


def _entry(fields: Any, key: str, name: str) -> TensorEntry:
    match fields:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
        case _:
            numbers, dtype, shape, begin, end = [None], "", [], 0, 0
    whole = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    if not whole or dtype not in ITEM_SIZES or len(shape) > DIMENSIONS_LIMIT:
        raise FileNotUnderstood(f"{printable(name)} describes its tensor {printable(key)[:80]} in an unknown way")
    if end - begin != math.prod(shape) * ITEM_SIZES[dtype]:
        raise FileDamaged(
            f"{printable(name)} is damaged: {printable(key)[:80]} has shape {tuple(shape)} and {end - begin:,} bytes"
        )
    return TensorEntry(dtype, tuple(shape), begin, end)


def _check_layout(tensors: dict[str, TensorEntry], size: int, name: str) -> None:
    """Raise FileFault unless the tensors follow each other without a gap and end with the file."""
    position = 0
    for entry in sorted(tensors.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != position:
            raise FileDamaged(f"{printable(name)} is damaged: its tensors overlap, or leave gaps")
        position = entry.end
    if position > size:
        raise FileTorn(f"{printable(name)} ends early: {size:,} of {position:,} bytes of tensors are there")
    if position < size:
        raise FileDamaged(f"{printable(name)} is damaged: {size - position:,} bytes follow its last tensor")
