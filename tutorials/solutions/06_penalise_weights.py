"""Solutions to the exercises of tutorial 6. Run me: every answer is checked.

python tutorials/solutions/06_penalise_weights.py
"""

import numpy as np

from tinydiv.data import load
from tinydiv.loop import DeviceData

probe = DeviceData(load("fashion-mini"), dtype="float64").probe()

# Exercise 1: at right angles and always of one mind -------------------------------------------------
#
# u is the direction of largest variance, p and -p a direction in which pictures hardly vary:
# w = (u + p) / sqrt 2 and v = (u - p) / sqrt 2 are at right angles, and both respond as u does.

vectors = np.linalg.eigh(np.cov(probe.T))[1]
u, p = vectors[:, -1], vectors[:, 0]
w, v = (u + p) / np.sqrt(2), (u - p) / np.sqrt(2)
agreement = np.corrcoef(probe @ w, probe @ v)[0, 1]
print(f"cosine {w @ v:.1e}, correlation {agreement:.3f}")
assert abs(w @ v) < 1e-9
assert agreement > 0.9

# Exercise 2: how many neurons fit? ------------------------------------------------------------------
#
# At most D. G = U'U has rank D and trace H, so its squared entries add up to at least H^2 / D. H of them
# are ones, on the diagonal.


def least(H, D):
    return (H**2 / D - H) / (H * (H - 1))


angles = np.arange(16) * np.pi / 16  # evenly spread lines in the plane
squares = np.cos(angles[:, None] - angles) ** 2
spread = (squares.sum() - 16) / (16 * 15)
print(f"least {least(16, 2):.4f}, evenly spread lines {spread:.4f}")
assert np.isclose(least(16, 2), spread)

answer_1, answer_2 = (w, v), least
