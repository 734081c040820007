"""Arrays that count the arithmetic done on them, by the rules of tinydiv/techniques/cost.py.

    flops = Flops()
    a = flops.watch(np.ones((4, 5)))
    a.mT @ a                      # flops.count is now 2 * 5 * 4 * 5

Whatever is computed from a watched array is watched too.
"""

import numpy as np

DECOMPOSITIONS = {"slogdet": 2 / 3, "inv": 2.0, "eigh": 9.0}
"""Flops of an n x n decomposition over n^3: textbook figures."""
FREE = {"roll", "reshape", "take_along_axis", "zeros_like", "ones_like", "shape", "ndim", "stack"}
FREE |= {"concatenate", "copy"}


class Flops:
    def __init__(self):
        self.count = 0.0

    def watch(self, a):
        watched = np.asarray(a).view(Watched)
        watched.flops = self
        return watched


class Watched(np.ndarray):
    flops = None

    def __array_finalize__(self, parent):
        self.flops = getattr(parent, "flops", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        flops = next(a.flops for a in (*inputs, *(out or ())) if isinstance(a, Watched))
        if out is not None:
            more["out"] = tuple(plain(a) for a in out)
        result = getattr(ufunc, method)(*map(plain, inputs), **more)
        if ufunc is np.matmul:
            flops.count += 2 * np.size(result) * inputs[0].shape[-1]
        else:
            flops.count += inputs[0].size if method == "reduce" else np.size(result)
        return out[0] if out is not None else flops.watch(result)

    def __array_function__(self, function, types, args, kwargs):
        found = next(a for a in flat(args) if isinstance(a, Watched))
        flops, name = found.flops, function.__name__
        if name in ("sum", "max", "mean", "any"):  # these end in a ufunc's reduce
            return super().__array_function__(function, types, args, kwargs)
        result = function(*(plain(a) for a in args), **{k: plain(a) for k, a in kwargs.items()})
        if name in DECOMPOSITIONS:
            n = found.shape[-1]
            flops.count += DECOMPOSITIONS[name] * found.size * n
            return (
                tuple(map(flops.watch, result))
                if isinstance(result, tuple)
                else flops.watch(result)
            )
        if name == "solve":
            n, many = result.shape[-2:]
            flops.count += (2 / 3 * n**3 + 2 * n**2 * many) * result.size / (n * many)
        elif name in ("argmax", "argmin"):
            flops.count += found.size
        elif name == "where":
            flops.count += result.size
        elif name not in FREE:
            raise AssertionError(f"no rule for counting {name}")
        return flops.watch(result)


def plain(a):
    if isinstance(a, list | tuple):
        return type(a)(map(plain, a))
    return a.view(np.ndarray) if isinstance(a, Watched) else a


def flat(args):
    return [b for a in args for b in (a if isinstance(a, list | tuple) else (a,))]
