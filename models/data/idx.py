"""IDX, the format of MNIST's files: 0, 0, 8 (unsigned bytes), number of dimensions, big-endian sizes, then bytes."""

import math

import numpy as np

IDX = b"\x00\x00\x08"


def idx_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an IDX file of unsigned bytes."""
    return IDX + bytes([len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


def read_idx(data: bytes) -> np.ndarray:
    """Parse an IDX file of unsigned bytes, of one or three dimensions. Raises ValueError if it is not one."""
    if len(data) < 4 or data[:3] != IDX or data[3] not in (1, 3):
        raise ValueError("not an IDX file of unsigned bytes")
    header = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4)]
    body = np.frombuffer(bytearray(data), dtype=np.uint8)[header:]
    if len(data) < header or body.size != math.prod(shape):
        raise ValueError(f"an IDX file of shape {tuple(shape)} cannot have {len(data)} bytes")
    return body.reshape(shape)
