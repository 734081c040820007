"""The array of the stand-in for CuPy (see standin.py), and counters of its operations."""

import contextlib
import functools
import gc
import operator
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
from cupy_names import own_names

NAMES = own_names()

# Counting ----------------------------------------------------------------------------------------

KINDS = ("launches", "copies", "uploads", "stops")


class Counts:
    """How often each kind of operation was made: counts.stops in total, counts.names["stops"] by name.

    counts.dtypes: the dtypes of all new arrays, temporary ones included.
    """

    def __init__(self):
        self.names = {kind: Counter() for kind in KINDS}
        self.dtypes = set()

    def launch(self, name, given):
        self.names["launches"][name] += 1

    def array(self, values):
        self.dtypes.add(values.dtype.name)

    def __getattr__(self, kind):
        if kind not in KINDS:
            raise AttributeError(kind)
        return self.names[kind].total()

    def __repr__(self):
        return ", ".join(f"{kind} {getattr(self, kind)}" for kind in KINDS)


class Recorded(Counts):
    """Counts that also store each launch with its arguments, in `calls` (see `described`)."""

    def __init__(self):
        super().__init__()
        self.calls = []
        # type(a), because isinstance reads a.__class__, for which some objects of PyTorch warn.
        there = (a for a in gc.get_objects() if type(a) is ndarray and "_host" in vars(a))
        self.kept = [owner(a._host) for a in there]  # so that no later array gets the same memory
        self.memory = {id(a): None for a in self.kept}

    def launch(self, name, given):
        super().launch(name, given)
        self.calls.append((name, *(self.described(value) for value in given)))

    def array(self, values):
        """Count a new array, and give its memory a number if it has none."""
        super().array(values)
        whole = owner(values)
        if id(whole) not in self.memory:
            self.memory[id(whole)] = len(self.kept)
            self.kept.append(whole)

    def described(self, value):
        """An argument of a launch: numbers as they are; an array by its shape, and by its address if it
        is older than the recording, else by its number among the new ones."""
        if isinstance(value, ndarray):
            value = value._host
        if isinstance(value, np.ndarray):
            number = self.memory[id(owner(value))]
            where = ("there", value.ctypes.data) if number is None else ("made", number)
            return (*where, value.shape, value.strides, value.dtype.name)
        if isinstance(value, tuple | list):
            return tuple(self.described(v) for v in value)
        if isinstance(value, dict):
            return tuple((key, self.described(v)) for key, v in value.items())
        return repr(value)


def owner(values):
    """The array that owns the memory of a view."""
    while isinstance(values.base, np.ndarray):
        values = values.base
    return values


_listeners: list[Counts] = []
fusing = [False]
"""Whether a fused function runs: its operations are no launches, and only some are allowed."""


@contextlib.contextmanager
def counting(kind=Counts):
    """Count the operations inside a `with`. These may be nested; each counts everything inside it."""
    counts = kind()
    _listeners.append(counts)
    try:
        yield counts
    finally:
        _listeners.remove(counts)


def count(kind, name):
    for counts in _listeners:
        counts.names[kind][name] += 1


def launch(name, *given, elementwise=False):
    if not fusing[0]:
        for counts in _listeners:
            counts.launch(name, given)
    elif not elementwise:
        raise TypeError(f"cupy.fuse compiles elementwise functions, and {name} is none")


def stop(name):
    if fusing[0]:
        raise TypeError(f"{name} needs the host, inside a fused function")
    count("stops", name)


def called_by_products():
    """Whether the calling function was called from products.py."""
    return sys._getframe(2).f_globals.get("__name__") == "tinydiv.products"


# Between host and device -------------------------------------------------------------------------


def host(value):
    """The NumPy array in a device array; numbers are returned as they are, NumPy arrays refused."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"CuPy takes no numpy.ndarray here (shape {value.shape}): upload it first")
    if isinstance(value, FusedNumber):
        return value.value
    if isinstance(value, tuple | list):
        return type(value)(host(v) for v in value)
    return value


def device(value):
    """The result of a NumPy function as CuPy would give it: numbers become 0-d arrays."""
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(value)
    if isinstance(value, tuple | list):
        return tuple(device(v) for v in value)
    return value


def is_view(result, arguments):
    """Whether the result uses the memory of one of the arguments."""
    if isinstance(result, tuple | list):
        return all(is_view(r, arguments) for r in result)
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    return isinstance(result, np.ndarray) and any(np.may_share_memory(result, a) for a in arrays)


# The array ---------------------------------------------------------------------------------------

FACTS = {"shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags"}
VIEWS = {"reshape", "ravel", "squeeze", "transpose", "swapaxes", "diagonal", "view"}
STOPS = {"item", "tolist", "tobytes", "nonzero", "compress", "put", "dump", "dumps", "tofile"}
ABSENT = {"base", "flat", "set"}
FUSED = ("dtype", "ndim", "copy", "astype")
"""The attributes of an array inside a fused function, in addition to its operators."""


class ndarray:  # noqa: N801
    """A device array. It contains a NumPy array, but NumPy's functions do not take it."""

    __array_ufunc__ = None  # numpy.exp(device) and numpy_array + device raise TypeError
    __hash__ = None

    def __init__(self, values):
        self._host = np.asarray(values)
        for counts in _listeners:
            counts.array(self._host)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use backend.to_host")

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} of a device array: use xp.{function.__name__}")

    def __index__(self):
        raise TypeError(
            "a device array as a Python index makes the host wait: write int() to show it"
        )

    def __getattr__(self, name):
        if name not in NAMES["ndarray"] or name in ABSENT:
            raise AttributeError(f"a device array has no attribute {name!r}")
        if fusing[0] and name not in FUSED:
            raise TypeError(f"cupy.fuse has no .{name}: its arrays have {', '.join(FUSED)}")
        found = getattr(self._host, name)
        if name in FACTS:
            return found
        return self._method(name, found) if callable(found) else device(found)

    def _method(self, name, found):
        @functools.wraps(found)
        def method(*args, **kwargs):
            known = NAMES["ndarray"][name]
            if known is not None and not set(kwargs) <= set(known):
                unknown = ", ".join(sorted(set(kwargs) - set(known)))
                raise TypeError(f"cupy.ndarray.{name} has no keyword {unknown}")
            if name in STOPS:
                stop(f".{name}")
            result = found(*host(args), **{key: host(value) for key, value in kwargs.items()})
            if name not in VIEWS or not is_view(result, [self._host]):
                launch(f".{name}", self, args, kwargs, elementwise=name == "copy")
            return result if name in ("item", "tolist", "tobytes") else device(result)

        return method

    @property
    def data(self):
        """data.ptr: the address of the first entry, here on the host."""
        return SimpleNamespace(ptr=self._host.ctypes.data)

    def get(self):
        stop(".get")
        return self._host.copy()

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == np.dtype(dtype):
            return self
        launch(".astype", self, dtype, elementwise=True)
        return ndarray(self._host.astype(dtype))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # Indexing

    def _key(self, key):
        """(the key for NumPy, whether it contains arrays of indices; if not, the result is a view)."""
        parts = key if isinstance(key, tuple) else (key,)
        if fusing[0] and parts not in ((Ellipsis,), (slice(None),)):
            raise TypeError("cupy.fuse has no indexing but [...] and [:]")
        for part in parts:
            if isinstance(part, ndarray) and part.dtype.kind == "b":
                stop("a mask as an index")
            elif isinstance(part, list):
                count("uploads", "a list as an index")
        gathers = any(isinstance(part, ndarray | list) for part in parts)
        if not gathers and not any(part is Ellipsis for part in parts):
            parts = (*parts, Ellipsis)  # so that one number is a 0-d view too
        return host(parts), gathers

    def __getitem__(self, key):
        key, gathers = self._key(key)
        if gathers:
            launch("gather", self, key)
        return ndarray(self._host[key])

    def __setitem__(self, key, value):
        key, gathers = self._key(key)
        if not isinstance(value, ndarray | FusedNumber | int | float | complex | np.generic):
            raise TypeError(f"a device array takes device arrays and numbers, not {type(value)}")
        value = host(value)
        if not gathers and getattr(value, "ndim", 0) > self._host[key].ndim:
            raise ValueError(f"CuPy drops no leading axes: {value.shape} has more than the target")
        if not gathers and isinstance(value, np.ndarray) and same_place(self._host[key], value):
            return  # a[...] += b adds in place, and then assigns a[...] to itself
        launch("scatter" if gathers else "assign", self, key, value, elementwise=True)
        if called_by_products():
            count("copies", "assign")
        self._host[key] = value

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __format__(self, spec):
        stop("format()")
        return format(self._host.item() if self.ndim == 0 else self._host, spec)


def same_place(a, b):
    return a.ctypes.data == b.ctypes.data and (a.shape, a.strides) == (b.shape, b.strides)


# Its operators: one launch each ------------------------------------------------------------------

ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
BITS = ["and", "or", "xor", "lshift", "rshift"]
COMPARISONS = ["lt", "le", "eq", "ne", "gt", "ge"]


def binary(name, function, swapped=False):
    def method(self, other):
        if isinstance(other, tuple | list):
            raise TypeError(f"a device array and a {type(other).__name__}: upload it first")
        if fusing[0]:
            refuse_in_fusion(name, self, other, swapped)
        a, b = self._host, host(other)
        launch(name, self, other, elementwise=True)
        return device(function(b, a) if swapped else function(a, b))

    return method


def refuse_in_fusion(name, array, other, swapped):
    """Refuse what cupy.fuse (14.2) cannot do with a number, or does in half precision."""
    number = other.value if isinstance(other, FusedNumber) else other
    if swapped and name == "pow" and not isinstance(other, FusedNumber):
        raise TypeError("cupy.fuse has no number ** array")
    small = array.dtype.kind == "b" or (isinstance(number, float) and array.dtype.itemsize < 4)
    if name in ARITHMETIC and small and type(number) in (int, float):
        raise TypeError(f"{array.dtype} with a number is float16 or int8 in a fused function")


def in_place(name, function):
    def method(self, other):
        launch(name, self, other, elementwise=True)
        function(self._host, host(other))
        return self

    return method


def unary(name, function):
    def method(self):
        if fusing[0] and name in ("abs", "pos"):
            raise TypeError(f"cupy.fuse has no {name}() of Python's: use xp.abs")
        launch(name, self, elementwise=True)
        return device(function(self._host))

    return method


def conversion(to):
    def method(self):
        stop(f"{to.__name__}()")
        return to(self._host)

    return method


for _name in ARITHMETIC + BITS:
    _function = getattr(operator, _name if _name not in ("and", "or") else _name + "_")
    setattr(ndarray, f"__{_name}__", binary(_name, _function))
    setattr(ndarray, f"__r{_name}__", binary(_name, _function, swapped=True))
    setattr(ndarray, f"__i{_name}__", in_place(_name, getattr(operator, f"i{_name}")))
for _name in COMPARISONS:
    setattr(ndarray, f"__{_name}__", binary(_name, getattr(operator, _name)))
for _name in ["neg", "pos", "abs", "invert"]:
    setattr(ndarray, f"__{_name}__", unary(_name, getattr(operator, _name)))
for _to in (float, int, bool, complex, str, repr):
    setattr(ndarray, f"__{_to.__name__}__", conversion(_to))


# Numbers inside a fused function -----------------------------------------------------------------


class FusedNumber:
    """A number inside a fused function: it may be combined with arrays only.

    CuPy 14.2 computes number with number in float16 there.
    """

    def __init__(self, value):
        self.value = value


def _with_arrays_only(self, other):
    if isinstance(other, ndarray):
        return NotImplemented  # the array's own method takes it
    raise TypeError("number with number in a fused function is float16 in CuPy: do it outside")


for _name in ARITHMETIC:
    setattr(FusedNumber, f"__{_name}__", _with_arrays_only)
    setattr(FusedNumber, f"__r{_name}__", _with_arrays_only)
