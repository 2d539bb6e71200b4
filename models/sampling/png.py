"""PNG files of grey pictures. They contain no time, so the same picture gives the same bytes."""

import struct
import zlib

import numpy as np

try:
    from isal import __version__
    from isal import isal_zlib as deflate

    ENCODER = f"isal {__version__}"
except ImportError:  # no wheel for this platform
    import zlib as deflate  # type: ignore[no-redef]

    ENCODER = f"zlib {deflate.ZLIB_RUNTIME_VERSION}"  # type: ignore[attr-defined]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_png(picture: np.ndarray) -> bytes:
    """Encode uint8 grey (height, width) as PNG, in a tenth of the time that Pillow takes (benchmarks/README.md)."""
    height, width = picture.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter; 0 is none
    rows[:, 1:] = picture
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    return PNG_SIGNATURE + b"".join(
        (_chunk(b"IHDR", header), _chunk(b"IDAT", deflate.compress(rows, 1)), _chunk(b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", deflate.crc32(data, deflate.crc32(kind)))


def encode_small_png(picture: np.ndarray, limit: int) -> bytes:
    """Encode uint8 grey (H, W) with 16 levels of grey, or with 4 or 2 if it takes more than `limit` bytes otherwise.

    With 2 levels it takes about H * W / 8 bytes at most.
    """
    height, width = picture.shape
    for bits in (4, 2, 1):
        levels = (picture.astype(np.uint16) * (2**bits - 1) + 127) // 255
        planes = (levels[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1  # the highest bit first
        rows = np.packbits(planes.reshape(height, width * bits).astype(np.uint8), axis=1)
        rows = np.concatenate((np.zeros((height, 1), np.uint8), rows), axis=1)  # filter 0 is none
        header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
        packed = zlib.compress(rows.tobytes(), 9)
        encoded = PNG_SIGNATURE + b"".join((_chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND", b"")))
        if len(encoded) <= limit:
            break
    return encoded
