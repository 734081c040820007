"""Does it cost a GPU time that rows of theta begin at odd addresses? python -m tests.bench.alignment cupy

A row of 784-16-10 has 12,730 numbers, so W of every other network begins 8 bytes beside a multiple of 16,
where cuBLAS may choose slower kernels. The same products are timed in turns on rows of 12,730 numbers and
on rows of 12,732, all of which begin at such a multiple. If the second is clearly faster, rows should be
padded.
"""

import statistics
import sys
import time

from tinydiv import backend
from tinydiv.backend import Array, matmul, xp

SIZES, BATCH, REPLICAS = (784, 16), 64, 1000
ROWS = {"12,730 numbers a row": 12_730, "12,732, padded": 12_732}


def products(columns: int, X: Array) -> tuple[Array, Array]:
    """X W and X' dZ, as forward and backward take them, on matrices that lie `columns` numbers apart."""
    n, m = SIZES
    theta = xp.ones((REPLICAS, columns), dtype="float32")
    W = theta[:, : n * m].reshape(REPLICAS, n, m)
    return matmul(X, W), matmul(X.mT, matmul(X, W))


def main() -> None:
    """Time both kinds of rows in turns and print the medians."""
    backend.use(sys.argv[1] if len(sys.argv) > 1 else "cupy")
    X = xp.ones((BATCH, SIZES[0]), dtype="float32")
    found: dict[str, list[float]] = {name: [] for name in ROWS}
    for turn in range(22):
        for name, columns in ROWS.items():
            backend.synchronize()
            began = time.perf_counter()
            products(columns, X)
            backend.synchronize()
            if turn > 1:  # the first ones compile
                found[name].append(time.perf_counter() - began)
    for name, seconds in found.items():
        print(f"{name:22} {1e6 * statistics.median(seconds):10.0f} us")


if __name__ == "__main__":
    main()
