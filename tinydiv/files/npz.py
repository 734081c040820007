"""Arrays in one .npz file, readable with NumPy alone: no pickles, the same bytes on every save.

arrays = numpy.load("model.npz")               arrays["W0"], arrays["b0"], ...
facts = json.loads(str(arrays["metadata"]))    what a number alone cannot say
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinydiv.backend import Array, to_host
from tinydiv.errors import RunError, UsageError
from tinydiv.files import atomic

METADATA = "metadata"


def write(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, object]) -> None:
    """Write arrays (of any backend) and a JSON metadata string, wholly or not at all.

    Raises UsageError for what is no array of numbers, RunError if the file cannot be written.
    """
    host = {}
    for name, array in arrays.items():
        host[name] = to_host(array) if hasattr(array, "dtype") else np.asarray(array)
        if host[name].dtype.kind not in "biuf":
            raise UsageError(f"{name} cannot be saved: it holds {host[name].dtype}, not numbers")
    host[METADATA] = np.array(json.dumps(metadata))  # zero-dimensional text: needs no pickle
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in host.items():
            # A ZipInfo without a date is of 1980: the clock does not get into the file.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    atomic.write_bytes(path, file.getvalue())


def read(path: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """(arrays, metadata) of a file that `write` made. Raises RunError if it cannot be read."""
    try:
        content = io.BytesIO(path.read_bytes())
        if not zipfile.is_zipfile(content):
            raise ValueError("it is no zip archive")
        with np.load(content, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        metadata = json.loads(str(arrays.pop(METADATA)))
    except OSError as error:
        raise RunError(f"cannot read {path}: {atomic.reason(error)}") from error
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} is damaged, or no file of tinydiv's: {error}") from error
    return arrays, metadata
