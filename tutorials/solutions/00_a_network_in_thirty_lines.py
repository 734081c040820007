"""Solutions to the exercises of tutorial 0. Run me: every answer is checked.

python tutorials/solutions/00_a_network_in_thirty_lines.py
"""

import numpy as np

# Exercise 1: count ----------------------------------------------------------------------------------
#
# Two matrices of weights, a bias for each hidden neuron and each output.

count = 784 * 16 + 16 + 16 * 10 + 10
print(f"{count} numbers are learned")
assert count == 12730

# Exercise 2: another bend ---------------------------------------------------------------------------
#
# Only two lines differ from the ReLU's: the bend, and its slope 1 - A^2 on the way back.


def tanh_network(X, Y, W, b, V, c):
    A = np.tanh(X @ W + b)
    logits = A @ V + c
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    n = np.arange(len(Y))
    loss = -np.log(p[n, Y]).mean()

    dlogits = p.copy()
    dlogits[n, Y] -= 1
    dlogits /= len(Y)
    dZ = (dlogits @ V.T) * (1 - A**2)
    return loss, X.T @ dZ, dZ.sum(axis=0), A.T @ dlogits, dlogits.sum(axis=0)


rng = np.random.default_rng(0)
X, Y = rng.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
W, b, V, c = rng.normal(size=(3, 4)), np.zeros(4), rng.normal(size=(4, 2)), np.zeros(2)
dW, h = tanh_network(X, Y, W, b, V, c)[1], 1e-6
step = np.zeros_like(W)
step[1, 2] = h
up, down = (tanh_network(X, Y, W + s * step, b, V, c)[0] for s in (1, -1))
print(f"dW[1, 2] by hand {dW[1, 2]:.6f}, measured {(up - down) / (2 * h):.6f}")
assert np.isclose(dW[1, 2], (up - down) / (2 * h), atol=1e-8)

answer_1, answer_2 = count, tanh_network
