"""Small image sets made of random bytes, in real files: what the tests read and download."""

import gzip
import hashlib

import numpy as np

from tinydiv.data import catalogue
from tinydiv.data.idx import idx_bytes


def an_image_set(name, seed):
    """A made set of 20 + 10 images: its ImageSet, and the payloads of its four files."""
    rng = np.random.default_rng(seed)
    payloads, idx_files = [], []
    for file_name, shape, high in (
        ("train-images-idx3-ubyte", (20, 28, 28), 256),
        ("train-labels-idx1-ubyte", (20,), 10),
        ("t10k-images-idx3-ubyte", (10, 28, 28), 256),
        ("t10k-labels-idx1-ubyte", (10,), 10),
    ):
        payload = idx_bytes(rng.integers(0, high, shape, dtype=np.uint8))
        payloads.append(payload)
        checksum = hashlib.sha256(payload).hexdigest()
        idx_files.append(catalogue.IdxFile(file_name, shape, checksum))
    image_set = catalogue.ImageSet(
        name, "made", "none", "none", tuple("0123456789"), tuple(idx_files)
    )
    return image_set, payloads


def put(folder, image_set, payloads, compressed=True):
    """Write the files of a made set into a folder, as .gz or plain."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, payload in zip(image_set.files, payloads, strict=True):
        if compressed:
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(payload))
        else:
            (folder / file.name).write_bytes(payload)
