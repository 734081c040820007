"""Solutions to the exercises of tutorial 1. Run me: every answer is checked.

python tutorials/solutions/01_check_one_neuron.py
"""

import numpy as np

from tinydiv.check.functions import check_function
from tinydiv.data import load

moons = load("moons")
X = moons.train_x.astype(np.float64)
t = moons.train_y.astype(np.float64)  # targets 0 and 1
N = len(t)
w, b = np.array([0.5, -0.3]), np.array(0.1)

# Exercise 1: a sigmoid and the cross-entropy --------------------------------------------------------
#
# p = sigmoid(z) has the slope p (1 - p), and dL/dp = -(t/p - (1-t)/(1-p)) / N = (p - t) / (N p (1 - p)).
# The product is dz = (p - t) / N: the slope cancels.


def logistic_neuron(w, b):
    z = X @ w + b
    p = 1 / (1 + np.exp(-z))
    loss = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))

    dz = (p - t) / N
    return loss, {"w": X.T @ dz, "b": np.sum(dz)}


report = check_function(logistic_neuron, {"w": w, "b": b}, samples=N)
print(report)
assert report.right

# Exercise 2: the best step --------------------------------------------------------------------------
#
# The error is about e/h + h^2 (L and L''' are of the order of 1). Its derivative -e/h^2 + 2h is zero at
# h = (e/2)^(1/3).

epsilon = 1e-16
best = (epsilon / 2) ** (1 / 3)
print(f"the best step should be near {best:.0e}")

y = 2 * t - 1


def loss_of(first):
    return np.sum((np.tanh(X @ np.array([first, w[1]]) + b) - y) ** 2) / (2 * N)


a = np.tanh(X @ w + b)
exact = np.sum(X[:, 0] * (a - y) / N * (1 - a**2))
steps = 10.0 ** -np.arange(1, 13)
errors = [abs((loss_of(w[0] + h) - loss_of(w[0] - h)) / (2 * h) - exact) for h in steps]
measured = steps[int(np.argmin(errors))]
print(f"and the best of the figure is {measured:.0e}")
assert 0.1 <= best / measured <= 10

# Exercise 3: a gradient at a kink -------------------------------------------------------------------
#
# To the left of z = 0 the slope of max(0, z) is 0, to the right 1. So to the left dw is 0, to the right it
# is (0 - y) x, and the difference to both sides gives their mean, half of the second: neither. There is no
# derivative to be right about, so a checker must say just that.

x, target = X[0], y[0]
at_zero = np.array(-(x @ w))  # the bias with which z is zero
assert x @ w + at_zero == 0


def relu_neuron(w, b):
    z = x @ w + b
    a = np.maximum(0, z)
    dz = (a - target) * (z > 0)
    return (a - target) ** 2 / 2, {"w": x * dz, "b": dz}


step = np.array([1e-5, 0.0])
above, below = relu_neuron(w + step, at_zero)[0], relu_neuron(w - step, at_zero)[0]
to_both_sides = (above - below) / 2e-5
print(f"to both sides {to_both_sides:.4f}; to the left 0, to the right {-target * x[0]:.4f}")
assert abs(to_both_sides - -target * x[0] / 2) < 1e-5

report = check_function(relu_neuron, {"w": w, "b": at_zero}, samples=1)
print(report)
assert [row.array for row in report.faults] == ["dw", "db"]
assert {row.worst.status for row in report.faults} == {"kink"}  # neither right nor wrong

answer_1, answer_2, answer_3 = logistic_neuron, best, (relu_neuron, at_zero)
