"""The IDX format of MNIST: four bytes of magic, big-endian sizes, then the numbers.

byte 0, 1   zero
byte 2      the kind of number; 8 is an unsigned byte, the only kind used here
byte 3      the number of dimensions d
then        d sizes of 4 bytes each, and the numbers, last dimension fastest
"""

import struct
from math import prod

import numpy as np
import numpy.typing as npt

UNSIGNED_BYTE = 8


def parse_idx(payload: bytes) -> npt.NDArray[np.uint8]:
    """The array in a decompressed IDX file, as a copy that belongs to the caller.

    Raises ValueError with one sentence if the bytes are no IDX file of unsigned bytes.
    """
    if len(payload) < 4 or payload[:2] != b"\0\0":
        raise ValueError("this is no IDX file: it does not begin with two zero bytes")
    if payload[2] != UNSIGNED_BYTE:
        raise ValueError(f"only IDX files of unsigned bytes (kind 8) are read, not {payload[2]}")
    n_dimensions = payload[3]
    start = 4 + 4 * n_dimensions
    if len(payload) < start:
        raise ValueError(f"the IDX header names {n_dimensions} dimensions but ends before them")
    shape = struct.unpack(f">{n_dimensions}I", payload[4:start])
    if len(payload) - start != prod(shape):
        raise ValueError(
            f"the IDX header announces {prod(shape)} numbers, shape {shape}, "
            f"but {len(payload) - start} follow"
        )
    return np.frombuffer(payload, np.uint8, offset=start).reshape(shape).copy()


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """The IDX file of an array of bytes: the inverse of parse_idx, the same bytes on each call."""
    header = bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()
