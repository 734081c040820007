"""Spectra of the neurons' correlations."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from tinydiv.backend import Array, to_host
from tinydiv.errors import UsageError
from tinydiv.plots.curves import Band, curve
from tinydiv.plots.style import Floats, describe, in_its_ink, ink, legend_above, row_ticks

SMALLEST = 1e-3
"""The lower end of the logarithmic axis: smaller eigenvalues are drawn there."""


@in_its_ink
def correlation_spectrum(
    ax: Axes, matrices: Mapping[str, Array] | Array, *, band: Band = "range"
) -> Axes:
    """The eigenvalues of the neurons' correlation matrix, largest first, on a logarithmic axis.

    For independent neurons all eigenvalues are 1, a dotted line; one large value and a steep fall mean that
    many neurons respond alike. matrices: R (H, H), or (R, H, H) with a band over networks, or several
    by name. Dead neurons (a zero on the diagonal) are left out. The legend has the number of directions
    that carry the variance (participation ratio), out of the neurons alive. Returns the axis.

    Raises UsageError if a matrix has another shape.
    """
    named = matrices if isinstance(matrices, Mapping) else {"": matrices}
    summary, most = [], 1
    for index, (name, matrix) in enumerate(named.items()):
        host = np.asarray(to_host(matrix), dtype=float)
        if host.ndim not in (2, 3) or host.shape[-1] != host.shape[-2]:
            raise UsageError(f"correlations are (H, H), or (R, H, H) for R networks: {host.shape}")
        stack = host.reshape(-1, *host.shape[-2:])
        values = np.array([eigenvalues(R) for R in stack])  # (R, H), NaN for the dead
        alive = np.isfinite(values).sum(axis=1).mean()
        ratio = float(np.mean([participation(row[np.isfinite(row)]) for row in values]))
        words = f"{ratio:.1f} of {alive:.3g} directions"
        label = f"{name}: {words}" if name else words
        ranks = np.arange(1, values.shape[1] + 1, dtype=float)
        curve(ax, ranks, np.maximum(values, SMALLEST).T, label=label, index=index, band=band)
        summary.append(label)
        most = max(most, values.shape[1])
    ax.axhline(1, color=ink(ax), linewidth=0.8, linestyle=":")
    ax.annotate("independent", (most, 1), (0, 4), textcoords="offset points", ha="right")
    ax.set_yscale("log")
    row_ticks(ax.xaxis, most)
    ax.set_xlabel("rank of the eigenvalue")
    ax.set_ylabel("eigenvalue of the correlations")
    legend_above(ax)
    describe(ax, f"Eigenvalues of the neurons' correlations: {'; '.join(summary)}.")
    return ax


def eigenvalues(R: Floats) -> Floats:
    """Eigenvalues of the alive neurons' correlations, largest first, padded with NaN to (H,)."""
    alive = np.diag(R) > 0
    found = np.full(len(R), np.nan)
    found[: alive.sum()] = np.linalg.eigvalsh(R[np.ix_(alive, alive)])[::-1]
    return found


def participation(values: Floats) -> float:
    """(sum v)^2 / sum v^2: how many directions carry the variance; 0 for no values."""
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / squares if squares > 0 else 0.0
