"""Arrays that count the operations on them: a cost that is the same on every machine.

    with counting() as counts:
        net = MLP([784, 16, 10])
        net.forward(to_device(X))
    counts.product_flops, counts.bytes, counts.calls

Inside, xp is NumPy with arrays of a class of its own, which records every operation on them.
"""

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tinydiv.backend import Array, quiet, use, xp

DECOMPOSITIONS: dict[str, Callable[[int, int], float]] = {
    "cholesky": lambda m, n: n**3 / 3,
    "solve": lambda m, n: 2 * n**3 / 3,
    "inv": lambda m, n: 2 * n**3,
    "det": lambda m, n: 2 * n**3 / 3,
    "slogdet": lambda m, n: 2 * n**3 / 3,
    "eigvalsh": lambda m, n: 4 * n**3 / 3,
    "eigh": lambda m, n: 9 * n**3,
    "qr": lambda m, n: 4 * m * n**2 - 4 * n**3 / 3,
    "svd": lambda m, n: 14 * max(m, n) * min(m, n) ** 2 + 8 * min(m, n) ** 3,
}
"""Flops for a matrix (m, n): textbook figures (Golub and Van Loan, Matrix Computations, 2013)."""


@dataclass
class Counts:
    """The operations so far."""

    product_flops: float = 0.0
    other_flops: float = 0.0
    bytes: float = 0.0
    calls: float = 0.0

    def minus(self, other: "Counts") -> "Counts":
        """The operations since `other`."""
        return Counts(*(getattr(self, k) - getattr(other, k) for k in vars(self)))

    def plus(self, other: "Counts") -> "Counts":
        """The sum of both."""
        return Counts(*(getattr(self, k) + getattr(other, k) for k in vars(self)))

    def over(self, n: float) -> "Counts":
        """Divided by n."""
        return Counts(*(getattr(self, k) / n for k in vars(self)))

    @property
    def flops(self) -> float:
        """All flops."""
        return self.product_flops + self.other_flops


@contextmanager
def counting() -> Iterator[Counts]:
    """Inside, xp is NumPy with arrays that count the operations on them; make the networks inside."""
    before = xp.__dict__["_module"], xp.__dict__["_product"]
    counts = Counts()
    use(CountingModule(counts, np))
    try:
        with quiet():  # the values do not matter
            yield counts
    finally:
        xp._choose(*before)


class CountingModule(types.ModuleType):
    """NumPy whose functions return counted arrays."""

    def __init__(self, counts: Counts, module: types.ModuleType) -> None:
        super().__init__("counting")
        self._counts, self._numpy = counts, module

    def __getattr__(self, name: str) -> Array:
        found = getattr(self._numpy, name)  # NumPy's own AttributeError: backend.fuse tests for it
        if isinstance(found, types.ModuleType):
            return CountingModule(self._counts, found)
        if isinstance(found, type) or not callable(found):
            return found

        def function(*args: Array, **kwargs: Array) -> Array:
            before = self._counts.calls
            result = found(*args, **kwargs)
            if isinstance(result, np.ndarray) and self._counts.calls == before:
                self._counts.calls += 1  # zeros, arange, ...: no counted array goes in
                self._counts.bytes += result.nbytes
            return counted(result, self._counts)

        return function


class CountedArray(np.ndarray):
    """An array that adds every operation on it to its Counts."""

    counts: Counts

    def __array_finalize__(self, of: object) -> None:
        self.counts = getattr(of, "counts", None) or Counts()

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Array, **kwargs: Array
    ) -> Array:
        bare = [plain(a) for a in inputs]
        outs = kwargs.get("out")
        if outs is not None:
            kwargs["out"] = tuple(plain(o) for o in outs)
        result = getattr(ufunc, method)(*bare, **{k: plain(v) for k, v in kwargs.items()})
        results = result if isinstance(result, tuple) else (result,)
        self._note(bare, results)
        if ufunc is np.matmul:
            k = np.shape(bare[0])[-1]
            self.counts.product_flops += 2 * k * np.size(results[0])
        elif method in ("reduce", "accumulate", "reduceat"):
            self.counts.other_flops += np.size(bare[0])
        elif method != "at":
            self.counts.other_flops += sum(np.size(r) for r in results)
        if outs is not None:
            return outs[0] if len(outs) == 1 else outs
        return counted(result, self.counts)

    def __array_function__(
        self, function: Callable[..., Array], types_: Array, args: Array, kwargs: Array
    ) -> Array:
        bare = [plain(a) for a in args]
        out = kwargs.get("out")
        result = function(*bare, **{k: plain(v) for k, v in kwargs.items()})
        arrays = [a for a in flat(bare) if isinstance(a, np.ndarray)]
        results = [r for r in flat([result]) if isinstance(r, np.ndarray | np.generic)]
        if any(
            np.shares_memory(r, a) for r in results for a in arrays if isinstance(r, np.ndarray)
        ):
            return counted(result, self.counts)  # a view costs nothing
        self._note(arrays, results)
        name = getattr(function, "__name__", "")
        linear_algebra = "linalg" in (getattr(function, "__module__", "") or "")
        if linear_algebra and name in DECOMPOSITIONS and arrays:
            *lead, m, n = arrays[0].shape
            self.counts.other_flops += float(np.prod(lead)) * DECOMPOSITIONS[name](m, n)
            if name == "solve":
                right = arrays[1]
                self.counts.other_flops += 2 * n * right.size
        elif arrays:
            self.counts.other_flops += max(np.size(a) for a in [*arrays, *results])
        return out if out is not None else counted(result, self.counts)

    def _note(self, inputs: Array, results: Array) -> None:
        self.counts.calls += 1
        arrays = [a for a in (*inputs, *results) if isinstance(a, np.ndarray | np.generic)]
        self.counts.bytes += sum(a.nbytes for a in arrays)

    def __getitem__(self, key: Array) -> Array:
        bare = plain(self)
        found = bare[plain(key)]
        if not (isinstance(found, np.ndarray) and np.may_share_memory(found, bare)):
            self.counts.calls += 1  # a gather; a slice is a view and costs nothing
            self.counts.bytes += 2 * np.asarray(found).nbytes
        return counted(found, self.counts)

    def __setitem__(self, key: Array, values: Array) -> None:
        bare = plain(self)
        bare[plain(key)] = plain(values)
        self.counts.calls += 1
        self.counts.bytes += 2 * (values.nbytes if isinstance(values, np.ndarray) else 0)

    def astype(self, *args: Array, **kwargs: Array) -> Array:
        """A conversion is a pass over memory."""
        result = plain(self).astype(*args, **kwargs)
        self._note([self], [result])
        return counted(result, self.counts)

    def copy(self, order: Array = "C") -> Array:
        """A copy is a pass over memory."""
        result = plain(self).copy(order)
        self._note([self], [result])
        return counted(result, self.counts)


def flat(values: Array) -> list[Array]:
    """The items of nested lists and tuples."""
    found: list[Array] = []
    for value in values:
        found += flat(value) if isinstance(value, list | tuple) else [value]
    return found


def plain(value: Array) -> Array:
    """The same without counting, also inside lists and tuples."""
    if isinstance(value, CountedArray):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(plain(v) for v in value)
    return value


def counted(value: Array, counts: Counts) -> Array:
    """The same as arrays that count; single numbers become arrays without axes, as on a GPU."""
    if isinstance(value, np.ndarray | np.number | np.bool_):
        array = np.asarray(value).view(CountedArray)
        array.counts = counts
        return array
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(counted(v, counts) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(counted(v, counts) for v in value)
    return value
