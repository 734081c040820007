"""Arrays in one .npz file, readable with NumPy alone: no pickles, the same bytes on every save.

arrays = numpy.load("model.npz")               arrays["W0"], arrays["b0"], ...
facts = json.loads(str(arrays["metadata"]))    texts and settings
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinydiv.backend import Array, to_host
from tinydiv.errors import UsageError
from tinydiv.files import atomic
from tinydiv.files.read import METADATA


def write(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, object]) -> None:
    """Write arrays (of any backend) and a JSON metadata string, completely or not at all.

    Raises UsageError for an array of anything but numbers, RunError if the file cannot be written.
    """
    host = {}
    for name, array in arrays.items():
        host[name] = to_host(array) if hasattr(array, "dtype") else np.asarray(array)
        if host[name].dtype.kind not in "biuf":
            raise UsageError(f"{name} cannot be saved: it holds {host[name].dtype}, not numbers")
    text = json.dumps(metadata, allow_nan=False)
    host[METADATA] = np.array(text)  # zero-dimensional text: needs no pickle
    put(path, host)


def put(path: Path, arrays: Mapping[str, Array], packing: int = zipfile.ZIP_STORED) -> None:
    """Write what numpy.savez writes, completely or not at all. packing: ZIP_DEFLATED for less space.

    numpy.savez of NumPy 2.0 leaves its archive open when the disk is full, which prints a traceback later.
    """
    with atomic.replacing(path) as part, zipfile.ZipFile(part, "w", packing) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
