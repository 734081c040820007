"""Known faults of a gradient, one function each: evidence about one array in, a finding or None out.

They are tried in the order of PATTERNS; the first that fits is taken. A pattern fits if it explains every
entry of the array (except at kinks). `a` is the hand-written array, `n` the measured one.
"""

from collections.abc import Callable, Iterator

import numpy as np

from tinydiv.check.evidence import CLOSE, Evidence, Facts, Finding, part
from tinydiv.settings import rounded

Pattern = Callable[[Evidence], Finding | None]


# Zeros, or a factor -----------------------------------------------------------------------------


def all_zero(e: Evidence) -> Finding | None:
    """The gradient is zero everywhere and should not be."""
    if np.abs(e.a).max() > 0 or np.abs(e.n).max() == 0:
        return None
    return Finding(
        "all-zero",
        "all zeros: this gradient is never filled in, or what it is computed from is zero",
    )


def left_over(e: Evidence) -> Finding | None:
    """The array still has its old content, alone or as a part of a sum."""
    before = e.facts.before.get(e.name)
    if before is None:
        return None
    if e.same(e.a, before):
        return Finding("never-filled", "never filled in: it still has its old content")
    if e.same(e.a - before, e.n):
        words = "added to the old content instead of replacing it: only accumulate=True adds"
        return Finding("not-replaced", words)
    return None


def no_effect_but_gradient(e: Evidence) -> Finding | None:
    """The gradient is not zero, but the value does not depend on the array."""
    if np.abs(e.n).max() > 1e-8 * np.abs(e.a).max():
        return None
    words = "not zero, but the value does not depend on this array: the gradient must be zero"
    return Finding("should-be-zero", words)


def factor(e: Evidence) -> float | None:
    """f where a = f n everywhere, else None."""
    ok = ~e.kinks
    weight = float((e.n[ok] ** 2).sum())
    if weight == 0:
        return None
    f = float((e.a[ok] * e.n[ok]).sum()) / weight
    return f if f != 0 and e.same(e.a, f * e.n) else None


SIZE_CODES = ("not-averaged", "averaged-twice", "n-minus-one", "scaled")
"""Findings that name a factor. The size that they name may equal it by chance."""


def scaled(e: Evidence) -> Finding | None:
    """The whole gradient is wrong by one factor."""
    f = factor(e)
    return None if f is None else name_factor(f, e.facts)


def name_factor(f: float, facts: Facts) -> Finding:
    """A factor in words: its sign, its size, and known quantities of that size."""
    if abs(f - 1) < 1e-2:
        return Finding("nearly", f"{f:.7g} times what it should be: {SMALL}")
    if f < 0:
        if near(f, -1):
            return Finding("sign", "sign flipped")
        return Finding("sign", f"sign flipped, and {times(-f)}")
    N = facts.samples
    if N > 2 and near(f, N):
        return Finding("not-averaged", f"not averaged over the batch: {times(f)} (N = {N})")
    if N > 2 and near(f, 1 / N):
        words = f"averaged over the batch once too often: {times(f)} (N = {N})"
        return Finding("averaged-twice", words)
    if N > 2 and (near(f, N / (N - 1)) or near(f, (N - 1) / N)):
        words = f"{times(f)}: N = {N} and N - 1 = {N - 1} are mixed up"
        return Finding("n-minus-one", words)
    if N > 2 and (near(f, N - 1) or near(f, 1 / (N - 1))):
        done = "multiplied" if f > 1 else "divided"
        return Finding("n-minus-one", f"{times(f)}: {done} by N - 1 = {N - 1} once too often")
    return Finding("scaled", times(f) + possible_cause(f, facts))


def possible_cause(f: float, facts: Facts) -> str:
    """A possible cause of a factor, as a clause to follow it."""
    known = {2.0: "a square's 2 counted twice, or each pair in both orders where it counts once"}
    known[0.5] = "the 2 of a square is missing, or only one of M + M'"
    for what, size in facts.sizes.items():
        for value in (size / (size - 1), (size - 1) / size) if size > 2 else ():
            known.setdefault(value, f"{what} is {size}: {size} and {size - 1} are mixed up")
        known.setdefault(float(size), f"{what} is {size}: a division by it is missing")
        known.setdefault(1 / size, f"{what} is {size}: divided by it once too often")
        pairs = size * (size - 1)
        for value in (float(pairs), 1 / pairs) if pairs > 2 else ():
            known.setdefault(value, f"the pairs of {what.removeprefix('the ')}: {pairs}")
    for value, clause in known.items():
        if near(f, value):
            return f" ({clause})"
    larger = max(f, 1 / f)
    n = round(larger / (larger - 1)) if larger != 1 else 0
    if not facts.samples and 2 < n < 10_000 and near(larger, n / (n - 1)):
        return f" (that is {n} / {n - 1}: N and N - 1 mixed up, with N = {n}?)"
    return ""


def times(f: float) -> str:
    """2.000x too large, 4.000x too small."""
    return f"{f:.3f}x too large" if f > 1 else f"{1 / f:.3f}x too small"


def near(f: float, g: float) -> bool:
    """Whether two factors are equal to a relative 1e-5."""
    return abs(f - g) <= 1e-5 * abs(g)


# The right numbers in the wrong places -----------------------------------------------------------


def transposed(e: Evidence) -> Finding | None:
    """The gradient is the transpose of the right one, perhaps times a factor."""
    if e.n.ndim < 2 or e.n.shape[-1] != e.n.shape[-2] or e.n.shape[-1] < 2:
        return None
    turned = np.swapaxes(e.n, -1, -2)
    if e.kinks.any() or e.same(turned, e.n):
        return None
    if e.same(e.a, turned):
        return Finding("transposed", "transposed")
    f = factor(Evidence(e.name, e.a, turned, e.kinks, e.x, e.facts))
    if f is None:
        return None
    return Finding("transposed", f"transposed, and {name_factor(f, e.facts).words}")


def of_another_array(e: Evidence) -> Finding | None:
    """The gradient is that of another array of the same shape."""
    for name, other in e.others.items():
        if other.size > 1 and e.same(e.a, other):
            return Finding("wrong-array", f"holds the gradient of {name}: layers are mixed up")
    return None


def networks_mixed(e: Evidence) -> Finding | None:
    """Faults that only a leading axis of networks can show."""
    if not e.facts.lead or e.n.ndim < 2 or e.n.shape[0] < 2:
        return None
    total = np.broadcast_to(e.n.sum(axis=0, keepdims=True), e.n.shape)
    if e.same(e.a, total):
        return Finding("networks-summed", "summed over the networks: each must get its own")
    if e.same(e.a, total / len(e.n)):
        return Finding("networks-averaged", "averaged over the networks: each must get its own")
    for r in range(len(e.n)):
        if e.same(e.a, np.broadcast_to(e.n[r : r + 1], e.n.shape)):
            return Finding("one-network-for-all", f"every network got the gradient of network {r}")
    for shift in range(1, len(e.n)):
        if e.same(e.a, np.roll(e.n, shift, axis=0)):
            return Finding("networks-shifted", f"the networks are shifted by {shift}")
    return None


def strength_on_neurons(e: Evidence) -> Finding | None:
    """Strengths (R,) that multiply the last axis in place of the first: possible where R = H."""
    s = e.facts.strengths
    if s is None or e.n.ndim != 3 or len(s) != e.n.shape[0] or len(s) != e.n.shape[-1]:
        return None
    if not e.same(e.a * s[:, None, None], e.n * s[None, None, :]):
        return None
    return Finding(
        "strength-on-neurons",
        "the strength per network was applied to the neuron axis: with as many networks as neurons, (R,) "
        "multiplies columns; it must have shape (R, 1, 1)",
    )


def shifted(e: Evidence) -> Finding | None:
    """The entries along an axis are shifted, reversed or exchanged."""
    if e.kinks.any():
        return None
    for axis, what in ((-1, "columns"), (-2, "rows")):
        if e.n.ndim < -axis or e.n.shape[axis] < 3:
            continue
        for shift in (1, -1):
            rolled = np.roll(e.n, shift, axis=axis)
            if e.same(e.a, rolled):
                return Finding("shifted", f"shifted: its {what} are one place off")
        if e.same(e.a, np.flip(e.n, axis=axis)):
            return Finding("shifted", f"reversed: its {what} are in the opposite order")
        moved = swapped(e, axis)
        if moved:
            places = ", ".join(map(str, moved))
            return Finding("swapped", f"its {what} {places} are exchanged")
    return None


def swapped(e: Evidence, axis: int) -> list[int]:
    """The places along an axis that were exchanged, if that explains the whole difference."""
    a, n = np.moveaxis(e.a, axis, 0), np.moveaxis(e.n, axis, 0)
    gap = np.abs(a[:, None] - n[None, :]).max(axis=tuple(range(2, n.ndim + 1)))
    source = gap.argmin(axis=1)
    if (
        len(set(source)) < len(source)
        or gap[np.arange(len(source)), source].max() > CLOSE * e.scale
    ):
        return []
    return [int(i) for i in np.flatnonzero(source != np.arange(len(source)))]


# Terms that are missing --------------------------------------------------------------------------


def rows_are_samples(e: Evidence) -> bool:
    """Whether the rows of the array are samples."""
    return e.facts.rows.get(e.name) == "samples" and e.n.ndim >= 2 and e.n.shape[-2] > 1


def own_columns(e: Evidence) -> np.ndarray | None:
    """The columns that a normalisation divides by their length: centred activations or weights."""
    rows = e.facts.rows.get(e.name)
    if rows is None or e.x.ndim < 2 or e.x.shape[-2] < 3:
        return None
    return e.x - e.x.mean(axis=-2, keepdims=True) if rows == "samples" else e.x


def mean_missing(e: Evidence) -> Finding | None:
    """The gradient becomes right when its mean over the samples is subtracted."""
    if not rows_are_samples(e) or not e.same(e.a - e.a.mean(axis=-2, keepdims=True), e.n):
        return None
    return Finding(
        "mean-missing",
        "the mean's own derivative is missing: the value does not change when the same number is added to "
        "all of a neuron's activations, so its column must sum to zero",
    )


def normalisation_missing(e: Evidence) -> Finding | None:
    """The difference is a multiple of each neuron's own column, perhaps plus a constant."""
    C = own_columns(e)
    if C is None or e.kinks.any():
        return None
    if along_columns(e.n, C) >= 0.02:  # scaling a column changes the value: nothing is normalised
        return None
    difference, samples = e.a - e.n, rows_are_samples(e)
    rest = without(difference, C)
    what = "a neuron's activations" if samples else "a neuron's weights"
    if small(rest, difference):
        words = (
            "the normalisation's derivative is missing: the value does not change with the size of "
            + what
        )
        return Finding("normalisation-missing", words)
    if samples and small(without(rest - rest.mean(axis=-2, keepdims=True), C), difference):
        words = "the derivatives of the mean and of the normalisation are both missing"
        return Finding("mean-and-normalisation-missing", words)
    return None


def along_columns(n: np.ndarray, C: np.ndarray) -> float:
    """The largest |cosine| of a column of n with the same column of C."""
    lengths = np.sqrt((n**2).sum(axis=-2) * (C**2).sum(axis=-2))
    inner = np.abs((n * C).sum(axis=-2))
    return float((inner[lengths > 0] / lengths[lengths > 0]).max(initial=0))


def without(d: np.ndarray, C: np.ndarray) -> np.ndarray:
    """d without its part along each column of C."""
    square = (C**2).sum(axis=-2, keepdims=True)
    square[square == 0] = 1
    kept: np.ndarray = d - C * (d * C).sum(axis=-2, keepdims=True) / square
    return kept


def small(rest: np.ndarray, of: np.ndarray) -> bool:
    """Whether a difference is small compared with an array."""
    return bool(np.abs(rest).max(initial=0) <= 1e-5 * np.abs(of).max(initial=0))


def own_pair_counted(e: Evidence) -> Finding | None:
    """The difference is a multiple of each neuron's own column: the diagonal of a Gram matrix was kept."""
    C = own_columns(e)
    if C is None or e.kinks.any() or e.n.shape[-1] < 2:
        return None
    rows = tuple(range(e.n.ndim - 1))
    if not (e.wrong.any(axis=rows) >= (e.n != 0).any(axis=rows)).all():
        return None  # the diagonal includes every neuron: a fault in only some of them is another fault
    for columns in (C, e.x):
        if small(without(e.a - e.n, columns), e.a - e.n):
            if small(without(e.n, columns), e.n):
                return None  # a factor per neuron: pairs of neurons are not involved
            words = (
                "differs by a multiple of each neuron's own column: pairs of a neuron with itself (the "
                "diagonal) are counted in one place and not in the other, or a term in the neuron's own "
                "size is wrong"
            )
            return Finding("diagonal", words)
    return None


def half_of_pairs(e: Evidence) -> Finding | None:
    """n = C K with K symmetric, and a = C K' with K' + K'' = K off the diagonal: M without M'."""
    C = own_columns(e)
    if C is None or e.kinks.any() or e.n.shape[-1] < 3:
        return None
    for columns in (C, e.x):
        shape = columns.shape[-2:]
        networks = zip(*(x.reshape(-1, *shape) for x in (columns, e.a, e.n)), strict=True)
        halves = [half(*network) for network in networks]
        if True in halves and False not in halves:
            words = "only one of M and M' is used: each pair moves one of its two neurons"
            return Finding("half-of-pairs", words)
    return None


def half(C: np.ndarray, a: np.ndarray, n: np.ndarray) -> bool | None:
    """The same for one network; None if its columns do not determine K."""
    alive = (C**2).sum(axis=0) > 0
    C, a, n = C[:, alive], a[:, alive], n[:, alive]
    H = C.shape[1]
    if H < 3 or len(C) <= H or np.linalg.cond(C) > 1e6:
        return None
    inverse = np.linalg.pinv(C)
    K, Ka = inverse @ n, inverse @ a
    if not (small(C @ K - n, n) and small(C @ Ka - a, a)):
        return False
    off = ~np.eye(H, dtype=bool)
    symmetric, one_sided = same(K[off], K.T[off]), not same(Ka[off], Ka.T[off])
    return symmetric and one_sided and same((Ka + Ka.T)[off], K[off])


def same(p: np.ndarray, q: np.ndarray) -> bool:
    """Whether two arrays are equal to a relative 1e-4."""
    return bool(np.abs(p - q).max(initial=0) <= 1e-4 * max(np.abs(p).max(), np.abs(q).max()))


# Masks -------------------------------------------------------------------------------------------


def mask(e: Evidence) -> Finding | None:
    """Wrong exactly where the gradient, or the code's array, is zero."""
    wrong, ok = e.wrong, ~e.kinks
    if not (wrong.any() and (ok & ~wrong).any()):
        return None
    count, of = int(wrong.sum()), int(ok.sum())
    off = e.facts.off.get(e.name)
    if off is not None and (wrong == (off & ok)).all():
        words = (
            f"mask missing where the neuron is off ({count} of {of} entries); a mask that is read from "
            "the output, A >= 0, is always true"
        )
        return Finding("mask-missing", words)
    zero = 1e-7 * e.scale
    if (np.abs(e.n[wrong]) <= zero).all():
        words = (
            f"mask missing: {count} of {of} entries must be zero and are not, the others are right"
        )
        return Finding("mask-missing", words)
    if (np.abs(e.a[wrong]) <= zero).all():
        words = f"masked too much: {count} of {of} entries are zero and must not be, the others are right"
        return Finding("mask-too-wide", words)
    return None


# Terms that should not be there ------------------------------------------------------------------


def extra_term(e: Evidence) -> Finding | None:
    """The difference is a multiple of a known array, or a constant. A penalty's is that at strength 1."""
    s = e.facts.strengths
    unit = 1.0 if s is None else s.reshape(-1, *(1,) * (e.n.ndim - 1)) if e.facts.lead else s[0]
    difference, at = np.where(e.kinks, 0, e.a - e.n) / unit, "" if s is None else " at strength 1"
    candidates = {**e.facts.extras.get(e.name, {}), e.name: e.x}
    for what, array in candidates.items():
        array = np.where(e.kinks, 0, np.broadcast_to(array, e.a.shape))
        weight = float((array**2).sum())
        if weight == 0:
            continue
        f = float((difference * array).sum()) / weight
        if f != 0 and small(difference - f * array, difference):
            words = f"contains {rounded(f, 4, sign='+')} times {what} too much{at}"
            if factors_along(e, e.n.ndim - 1) is not None and e.n.shape[-1] > 1:
                column = next(axes(e))[1]
                words += f"; one of several causes: a factor for each {column} explains as much"
            return Finding("extra-term", words)
    offset = difference[~e.kinks].mean()
    if e.a.size > 2 and small(difference - np.where(e.kinks, 0, offset), difference):
        return Finding("offset", f"every entry is too large by the same {rounded(offset, 4)}{at}")
    return None


def upstream_factor(e: Evidence) -> Finding | None:
    """One part is wrong in a sum of parts, one from each upstream gradient (dlogits, dA[1], ...)."""
    parts = e.facts.parts.get(e.name, {})
    parts = {name: p for name, p in parts.items() if np.abs(p).max() > 1e-9 * e.scale}
    if len(parts) < 2 or e.kinks.any():
        return None
    columns = np.stack([p.ravel() for p in parts.values()], axis=1)
    f, _, rank, _ = np.linalg.lstsq(columns, e.a.ravel(), rcond=None)
    if rank < len(parts) or e.a.size <= len(parts) or not small(columns @ f - e.a.ravel(), e.a):
        return None
    for name, factor in zip(parts, f, strict=True):
        if abs(factor) < 1e-6:
            return Finding("upstream-left-out", f"the part that comes from {name} is missing")
        if not near(factor, 1):
            words = name_factor(factor, e.facts).words
            return Finding("upstream-factor", f"the part that comes from {name} is wrong: {words}")
    return None


SMALL = (
    "so small a difference may be an eps or a rounded constant in one place and not in the other, or a "
    "small term too many"
)


def nearly(e: Evidence) -> Finding | None:
    """Right to within one percent everywhere."""
    gap = np.abs(np.where(e.kinks, 0, e.a - e.n)).max()
    if gap > 1e-2 * e.scale:
        return None
    return Finding("nearly", f"right to {gap / e.scale:.1e} of the largest entry: {SMALL}")


# One part of the array ---------------------------------------------------------------------------


def axes(e: Evidence) -> Iterator[tuple[int, str]]:
    """The axes of the array, the last one first, each with the name of its places: neuron, sample."""
    names = [e.facts.columns.get(e.name, "neuron" if e.facts.rows else "column")]
    names.append("sample" if rows_are_samples(e) else "row")
    if e.facts.lead and e.n.ndim > 2:
        names.append("network")
    for i, what in enumerate(names[: e.n.ndim]):
        if e.n.shape[-1 - i] > 1:
            yield e.n.ndim - 1 - i, what


def one_part(e: Evidence) -> Finding | None:
    """Right everywhere except in some networks, samples or neurons; the finding names these places.

    An axis along which the fault at these places is a known one is preferred.
    """
    unnamed = None
    for axis, what in reversed(list(axes(e))):
        rest = tuple(i for i in range(e.n.ndim) if i != axis)
        places = np.flatnonzero(e.wrong.any(axis=rest))
        if len(places) > max(1, e.n.shape[axis] // 2):
            continue
        index = (slice(None),) * axis + (places,)
        inner = part(e, index)
        named = f"{what}{'s' if len(places) > 1 else ''} {', '.join(map(str, places))}"
        for pattern in (all_zero, scaled, shifted):
            found = pattern(inner)
            if found is not None:
                return Finding("one-part", f"wrong only in {named}: there, {found.words}")
        words = f"wrong only in {named}: there, {largest_difference(inner).words}"
        unnamed = unnamed or Finding("one-part", words)
    return unnamed


def factors_along(e: Evidence, axis: int) -> np.ndarray | None:
    """One factor for every place along an axis, if that explains everything."""
    if e.n.size <= 2 * e.n.shape[axis]:
        return None
    rest = tuple(i for i in range(e.n.ndim) if i != axis)
    ok = ~e.kinks
    weight = (e.n**2 * ok).sum(axis=rest, keepdims=True)
    f: np.ndarray = (e.a * e.n * ok).sum(axis=rest, keepdims=True) / np.where(weight > 0, weight, 1)
    return f.ravel() if e.same(e.a, f * e.n) else None


def factor_per_network(e: Evidence) -> Finding | None:
    """A factor of its own for every network, for example its strength."""
    if not e.facts.lead or e.n.ndim != 3 or e.n.shape[0] < 2:
        return None
    f = factors_along(e, 0)
    if f is None or 2 * np.sum(np.abs(f - 1) < 1e-6) >= len(f):
        return None  # where most networks are right, one_part names the others
    s = e.facts.strengths
    if s is not None and same(f, s):
        return Finding("strength-twice", "multiplied by each network's strength twice")
    if s is not None and same(f * s, np.ones_like(s)):
        return Finding("strength-missing", "not multiplied by each network's strength")
    return Finding("factor-per-network", f"each network has a factor of its own: {some_of(f)}")


def factor_per_place(e: Evidence) -> Finding | None:
    """A factor of its own for every sample or neuron."""
    for axis, what in axes(e):
        f = factors_along(e, axis)
        if f is not None:
            words = f"each {what} has a factor of its own: {some_of(f)}"
            return Finding(f"factor-per-{what}", words + size_of_columns(e, axis, f))
    return None


def size_of_columns(e: Evidence, axis: int, f: np.ndarray) -> str:
    """A clause that explains factors per column by a power of the columns' length or deviation, or ""."""
    if axis != e.n.ndim - 1 or e.n.ndim != 2 or not (f > 0).all():
        return ""
    samples = rows_are_samples(e)
    sizes = {"length |x|": np.sqrt((e.x**2).sum(axis=0))}
    if samples:
        sizes = {"standard deviation s": e.x.std(axis=0), **sizes}
    for what, size in sizes.items():
        if not (size > 0).all():
            continue
        for power in (1, -1, 2, -2):
            ratio = f / size**power
            if np.ptp(ratio) <= 1e-4 * np.abs(ratio).max():
                done = "a division by" if power > 0 else "too often divided by"
                times = " twice" if abs(power) == 2 else ""
                short = f"{done} the column's {what}{times}" + (" is missing" if power > 0 else "")
                return f" ({short}, times {rounded(ratio.mean(), 4)}; one of several causes)"
        # 1 / (s + eps) in place of 1 / s: f = s / (s + eps), so (1 / f - 1) s = eps; the same for s^2
        for power, square in ((1, ""), (2, "^2")):
            eps = (1 / f - 1) * size**power
            if np.ptp(eps) <= 1e-3 * np.abs(eps).max():
                return (
                    f" (as {rounded(eps.mean(), 4, sign='+')} beside the column's {what}{square} in a "
                    "denominator would do: another eps; one of several causes)"
                )
    return ""


def some_of(f: np.ndarray) -> str:
    """The first four factors as text."""
    return ", ".join(f"{v:.3f}" for v in f[:4]) + (", ..." if f.size > 4 else "")


def largest_difference(e: Evidence) -> Finding:
    """The place of the largest difference, and the cosine between the two arrays."""
    gap = np.where(e.kinks, 0, np.abs(e.a - e.n))
    place = np.unravel_index(int(gap.argmax()), gap.shape)
    at = ", ".join(map(str, place))
    norms = np.linalg.norm(e.a[~e.kinks]) * np.linalg.norm(e.n[~e.kinks])
    cosine = float((e.a * e.n)[~e.kinks].sum() / norms) if norms > 0 else 0.0
    words = (
        f"differs in {int(e.wrong.sum())} of {e.n.size} entries, most at [{at}]: {rounded(e.a[place], 6)} "
        f"where {rounded(e.n[place], 6)} was measured (cosine {cosine:.3f} between the two)"
    )
    if e.facts.upstream:
        words += "; the upstream gradients are random numbers"
    return Finding("elsewhere", words)


PATTERNS: tuple[Pattern, ...] = (
    all_zero,
    left_over,
    no_effect_but_gradient,
    scaled,
    strength_on_neurons,
    factor_per_network,
    networks_mixed,
    transposed,
    of_another_array,
    mask,
    mean_missing,
    extra_term,
    upstream_factor,
    normalisation_missing,
    own_pair_counted,
    half_of_pairs,
    nearly,
    shifted,
    one_part,
    factor_per_place,
)
