"""IDX, the format of MNIST's files: 0, 0, 8 (unsigned bytes), number of dimensions, big-endian sizes, then bytes."""

import math
from typing import NamedTuple

import numpy as np

IDX = b"\x00\x00\x08"


class ArrayHeader(NamedTuple):
    shape: tuple[int, ...]  # (N,) or (N, H, W)
    start: int  # of the elements, in bytes


def idx_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an IDX file of unsigned bytes."""
    return IDX + bytes([len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


def idx_header_of(head: bytes) -> ArrayHeader | None:
    """Parse the header of an IDX file of unsigned bytes, of one or three dimensions; None if it is something else."""
    if len(head) < 4 or head[:3] != IDX or head[3] not in (1, 3) or len(head) < 4 + 4 * head[3]:
        return None
    start = 4 + 4 * head[3]
    return ArrayHeader(tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, start, 4)), start)


def read_idx(data: bytes) -> np.ndarray:
    """Parse an IDX file of unsigned bytes, of one or three dimensions. Raises ValueError if it is not one."""
    header = idx_header_of(data)
    if header is None:
        raise ValueError("not an IDX file of unsigned bytes")
    body = np.frombuffer(bytearray(data), dtype=np.uint8)[header.start :]
    if body.size != math.prod(header.shape):
        raise ValueError(f"an IDX file of shape {header.shape} cannot have {len(data)} bytes")
    return body.reshape(header.shape)
