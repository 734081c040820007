"""Solutions to the exercises of tutorial 2. Run me: every answer is checked.

python tutorials/solutions/02_push_gradients_back.py
"""

from tinydiv.backend import xp
from tinydiv.check.suite import check_backward, check_loss
from tinydiv.losses import one_hot

# Exercise 1: back to the inputs ---------------------------------------------------------------------
#
# X is A[0]: its gradient comes out of the same product as every other dA.


def backward(net, trace, dlogits, to_inputs=False):
    dZ = dlogits
    for l in reversed(range(net.depth)):
        net.dW[l][...] = trace.A[l].mT @ dZ
        net.db[l][...] = dZ.sum(axis=-2, keepdims=True)
        if l > 0 or to_inputs:
            dA = dZ @ net.W[l].mT
        if l == 0:
            return dA if to_inputs else None
        dZ = dA * net.activation.derivative(trace.Z[l - 1])


report = check_backward(backward)
print(report)
assert report.right
assert any(row.array == "dX" for row in report.rows)

# Exercise 2: squared error --------------------------------------------------------------------------
#
# L = 1/(2N) sum (o - y)^2: the 2 of the square cancels the ½, the 1/N stays.


def loss(outputs, targets):
    N = outputs.shape[-2]
    difference = outputs - one_hot(targets, outputs)
    return xp.sum(difference**2, axis=(-2, -1)) / (2 * N), difference / N


report = check_loss(loss)
print(report)
assert report.right

# Exercise 3: find the mistake -----------------------------------------------------------------------
#
# dZ is multiplied by the slope of its *own* layer before it goes through W, and not by that of the layer
# below afterwards. dW and db of the last layer are filled before that happens: they are right, all others
# wrong. (Not for the activation "identity", whose slope is 1 everywhere.)


def colleague(net, trace, dlogits):
    dZ = dlogits
    for l in reversed(range(net.depth)):
        net.dW[l][...] = trace.A[l].mT @ dZ
        net.db[l][...] = dZ.sum(axis=-2, keepdims=True)
        if l > 0:
            dZ = dZ * net.activation.derivative(trace.Z[l])
            dA = dZ @ net.W[l].mT
            dZ = dA


report = check_backward(colleague)
print(report)
assert not report.right
right = {row.array for row in report.rows if row.right}
assert right == {"dW[2]", "db[2]"}  # the deepest networks that are checked have three matrices

answer_1, answer_2, answer_3 = backward, loss, right
