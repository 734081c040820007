"""Solutions to the exercises of tutorial 11. Run me: every answer is checked.

python tutorials/solutions/11_grow_and_condense.py
"""

from dataclasses import replace

import numpy as np

from tinydiv.growing.auxiliary import ARMS, PUBLISHED, Trials, train
from tinydiv.growing.comparing import ratio

# Exercise 1: the third arm --------------------------------------------------------------------------
#
# "input-ramps": all neurons are open, only the input grows. If that alone is as good as growing, it was
# the input that made the difference.

setting = replace(PUBLISHED["bessel-window"], epochs=8_000, rate=0.005)
ramps, grown = (
    train(ARMS[name], Trials(setting, range(20))).test for name in ("input-ramps", "grown")
)
third = ratio(ramps, grown).geometric.estimate
print(f"only the input ramps / grown: {third:.2f}")
assert third < 1

# Exercise 2: merging exactly ------------------------------------------------------------------------
#
# ReLU(s z) = s ReLU(z): j responds s times as strongly as i, so i passes on s V_j besides its own.


def merged(V_i, V_j, s):
    return V_i + s * V_j


z, V_i, V_j, s = np.linspace(-1, 1, 9)[:, None], np.array([1.0, -2.0]), np.array([0.5, 3.0]), 2.5
apart = np.maximum(0, z) * V_i + np.maximum(0, s * z) * V_j
assert np.allclose(apart, np.maximum(0, z) * merged(V_i, V_j, s))

answer_1, answer_2 = ("input-ramps", third), merged
