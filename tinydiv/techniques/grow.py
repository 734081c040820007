"""Grow: neurons are woken among sleeping ones while the network learns, and put back to sleep.

A neuron sleeps while its incoming weights, its bias and its outgoing weights are all zero: with f(0) = 0
every gradient that the task gives it is exactly zero; where a penalty or a layer gives it another one,
it is set back after the optimizer's step. The width of the layer is then only the largest size, and
networks of different sizes lie in one array.
"""

from collections.abc import Sequence

from tinydiv.activations import Activation
from tinydiv.backend import Array, matmul, xp
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.similarity import lengths
from tinydiv.techniques.base import Intervention, Step
from tinydiv.techniques.recycling import centring_bias

STREAM = 3000


def awake(net: MLP, layer: int) -> Array:
    """(..., H) True for neurons of a hidden layer with any incoming or outgoing weight."""
    incoming = xp.any(net.W[layer - 1] != 0, axis=-2)
    return incoming | xp.any(net.W[layer] != 0, axis=-1)


def put_to_sleep(net: MLP, layer: int, chosen: Array) -> None:
    """Set all weights of chosen neurons (..., H) of a hidden layer to zero."""
    columns, rows = chosen[..., None, :], chosen[..., :, None]
    for block, mask in (
        (net.W[layer - 1], columns),
        (net.b[layer - 1], columns),
        (net.W[layer], rows),
    ):
        block[...] = xp.where(mask, xp.zeros_like(block), block)


def refuse_activation(name: str, activation: Activation) -> None:
    """Raise UsageError for an activation function under which no neuron can sleep."""
    if activation.name == "sigmoid":
        raise UsageError(
            f"{name} needs an activation function with f(0) = 0, so that a neuron without weights "
            f"is silent, and {activation.name}'s is 0.5: take relu, tanh or gelu"
        )


def first_of(neurons: Array, count: int) -> Array:
    """The first `count` neurons of those marked, (..., H) -> (..., H)."""
    return neurons & (xp.cumsum(neurons, axis=-1) <= count)


class Grow(Intervention):
    """Wake a few neurons of a hidden layer every so many steps (ours, after Evci et al., ICLR 2022).

        before the first step   all neurons but the first sleep: w_h = 0, b_h = 0, V_h = 0
        then, when triggered    the `drop` awake neurons of least std(a_h) |V_h| fall asleep:
                                    c <- c + mean(a_h) V_h;   w_h, b_h, V_h <- 0
                                the next `number` sleeping neurons wake, as long as fewer than `most` do:
                                    w_h <- incoming weights;   b_h <- - mean(X w_h);   V_h <- 0
                                moments of both <- 0

    W (..., D, H), V (..., H, K). incoming=random draws directions; incoming=decorrelated then takes out
    of them what the awake neurons respond to already, so that the new pre-activations on the probe set are
    uncorrelated with theirs and with each other (up to D neurons). All get the usual length of the awake
    neurons' weights. With zero outgoing weights a neuron that wakes changes no output. The trigger is
    every=K steps or when=plateau, under which networks trained together come to have different sizes.
    Cost, every `every` steps: a forward pass on the probe set.
    """

    name = "grow"
    family = "growing"
    invariant = "the outputs, exactly, while neurons wake; sleeping neurons stay zero in between"
    default_every = 200

    first: int = setting(4, low=1, help="neurons that are awake from the start")
    number: int = setting(4, low=0, help="neurons that wake each time")
    most: int = setting(0, low=0, help="neurons at which it stops; 0: the width of the layer")
    drop: int = setting(0, low=0, help="neurons that fall asleep each time, before others wake")
    incoming: str = setting(
        "random", choices=("random", "decorrelated"), help="how incoming weights are drawn"
    )

    def refuse(self, net: MLP, layers: Sequence[int]) -> None:
        refuse_activation(self.name, net.activation)
        if self.number == 0 and self.drop == 0:
            raise UsageError(
                f"{self.name} with number=0 and drop=0 changes nothing: set one of them"
            )
        for layer in layers:
            room = net.sizes[layer]
            for key in ("first", "most"):
                if getattr(self, key) > room:
                    raise UsageError(
                        f"{self.name}'s {key} is {getattr(self, key)} and layer {layer} has room for "
                        f"{room} neuron{'s' * (room != 1)}: take a wider hidden layer, or fewer"
                    )
        if 0 < self.most < self.first:
            raise UsageError(
                f"{self.name}'s most is {self.most}, fewer than the {self.first} it begins with"
            )

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        begun = xp.arange(net.sizes[layer]) < self.first
        # Which neurons (..., H) are awake:
        self.kept[f"awake{layer}"] = begun & xp.ones((*net.lead, 1), dtype=bool)
        self.update_layer(net, layer)

    def update(self, step: Step, layer: int) -> None:
        self.update_layer(step.net, layer)

    def update_layer(self, net: MLP, layer: int) -> None:
        """Set the weights of sleeping neurons back to zero."""
        put_to_sleep(net, layer, ~self.kept[f"awake{layer}"])

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        key = f"awake{layer}"
        here = xp.ones_like(self.kept[key]) if mask is None else mask[..., None]
        if self.drop:
            self.kept[key] = self.kept[key] & ~self.put_least_to_sleep(
                step, layer, self.kept[key], here
            )
        now = self.kept[key]
        free = (self.most or step.net.sizes[layer]) - xp.sum(now, axis=-1, keepdims=True)
        chosen = first_of(~now, self.number) & (xp.cumsum(~now, axis=-1) <= free) & here
        chosen = self.wake(step, layer, chosen, now)
        self.kept[key] = now | chosen
        step.reset_moments(layer, chosen)
        step.neurons_replaced(layer, chosen)

    def put_least_to_sleep(self, step: Step, layer: int, now: Array, here: Array) -> Array:
        """Put the neurons to sleep that contribute least, and return which; at least one stays awake."""
        net, A = step.net, step.probe().A[layer]
        mean = xp.mean(A, axis=-2, keepdims=True)
        contributes = xp.std(A, axis=-2) * xp.linalg.norm(net.W[layer], axis=-1)
        order = xp.argsort(xp.argsort(xp.where(now, contributes, xp.inf), axis=-1), axis=-1)
        others = xp.sum(now, axis=-1, keepdims=True) - 1
        chosen = now & (order < self.drop) & (order < others) & here
        means = xp.where(chosen[..., None, :], mean, xp.zeros_like(mean))
        net.b[layer][...] += matmul(means, net.W[layer])
        put_to_sleep(net, layer, chosen)
        step.reset_moments(layer, chosen)
        return chosen

    def wake(self, step: Step, layer: int, chosen: Array, now: Array) -> Array:
        """Give chosen neurons (..., H) weights, return which got some; now (..., H): those awake."""
        net, X = step.net, step.probe().A[layer - 1]
        W, b = net.W[layer - 1], net.b[layer - 1]
        fresh = self.directions(step, layer, X, chosen, now)
        drawn = lengths(fresh)
        fresh = fresh * (self.length(W, now) / xp.where(drawn > 0, drawn, 1))
        columns = chosen[..., None, :]
        b[...] = xp.where(columns, centring_bias(X, fresh), b)
        W[...] = xp.where(columns, fresh, W)
        return chosen

    @staticmethod
    def length(W: Array, now: Array) -> Array:
        """The root mean square of the awake neurons' lengths, (..., 1, 1)."""
        many = xp.sum(now, axis=-1)[..., None, None]
        usual = xp.sqrt(xp.sum(W**2, axis=(-2, -1), keepdims=True) / many)
        return xp.where(usual > 0, usual, xp.ones_like(usual))

    def directions(self, step: Step, layer: int, X: Array, chosen: Array, now: Array) -> Array:
        """Incoming weights (..., D, H) of any length, for the chosen neurons at least."""
        assert step.draws is not None
        W = step.net.W[layer - 1]
        w = step.draws.symmetric(W.shape[-2:], step.number, STREAM + layer, step.net.dtype)
        if self.incoming == "random":
            return w
        (N, H), tiny = (X.shape[-2], W.shape[-1]), xp.finfo(W.dtype).tiny
        identity = xp.eye(H, dtype=W.dtype)
        Xc = X - xp.mean(X, axis=-2, keepdims=True)
        Z = matmul(Xc, W)  # zero for neurons that sleep
        S = matmul(Z.mT, Z) / N
        spread = xp.sum(S * identity, axis=(-2, -1), keepdims=True) / H
        ridge = xp.maximum(1e-5 * spread, tiny) * identity
        q = matmul(Z.mT, matmul(Xc, w)) / N
        w = w - matmul(W, xp.linalg.solve(S + ridge, q))
        w = w / lengths(w) * chosen[..., None, :].astype(W.dtype)
        Z = matmul(Xc, w)
        values, U = xp.linalg.eigh(matmul(Z.mT, Z) / N)
        least = xp.maximum(1e-6 * xp.max(values, axis=-1, keepdims=True), tiny)
        roots = 1 / xp.sqrt(xp.maximum(values, least))[..., None, :]
        return matmul(w, matmul(U * roots, U.mT))


class GradMax(Grow):
    """Wake neurons where the gradient will be largest: GradMax, an exhibit (Evci et al., ICLR 2022).

        M = X' dZ   (D, K), the gradient that a direct connection past the layer would get
        M = P S Q';   V_h <- size Q_k';   w_h <- - start P_k;   b_h <- 0      k-th largest singular value

    X (..., N, D) is what the layer receives, dZ (..., N, K) the gradient at the outputs, both on the step's
    batch. The paper has incoming weights of exactly zero, which needs f'(0) = 1; ReLU's derivative is 0
    there, so they start at a small length. Only at most min(D, K) neurons can wake at a time, and only in
    the last hidden layer, where dZ is known.
    """

    name = "gradmax"
    acts_on = "last hidden layer"
    invariant = "the outputs to the order of start; sleeping neurons stay zero in between"

    size: float = setting(0.5, above=0, help="length of outgoing weights, beside those awake")
    start: float = setting(1e-3, above=0, help="length of the incoming weights")

    def wake(self, step: Step, layer: int, chosen: Array, now: Array) -> Array:
        net = step.net
        trace = net.forward(step.trace.inputs)
        _, dZ = step.loss_function(trace.logits, step.targets)
        P, _, Qt = xp.linalg.svd(matmul(trace.A[layer - 1].mT, dZ), full_matrices=False)
        most = Qt.shape[-2]
        place = xp.cumsum(chosen, axis=-1) - 1  # which singular value each chosen neuron takes
        chosen = chosen & (place < most)
        pick = (place[..., :, None] == xp.arange(most)) & chosen[..., :, None]  # (..., H, most)
        pick = pick.astype(net.dtype)
        W, V = net.W[layer - 1], net.W[layer]
        length = self.length(V, now)
        V[...] += self.size * length * matmul(pick, Qt)
        W[...] += -self.start * matmul(P, pick.mT)
        return chosen


class Net2Net(Grow):
    """Wake neurons as copies of awake ones: Net2Net, an exhibit (Chen, Goodfellow and Shlens, ICLR 2016).

        w_h <- w_j + noise;   b_h <- b_j;   V_h <- V_j / 2;   V_j <- V_j / 2

    j: the first awake neurons in turn, each copied once at a time. The outputs change only by the noise,
    without which both copies would stay equal. It shows the cost of growth by copies: copies are
    redundant.
    """

    name = "net2net"
    invariant = "the outputs to the order of noise; sleeping neurons stay zero in between"

    noise: float = setting(1e-3, low=0, help="noise on the copies, as a share of their length")

    def wake(self, step: Step, layer: int, chosen: Array, now: Array) -> Array:
        assert step.draws is not None
        net = step.net
        W, b, V = net.W[layer - 1], net.b[layer - 1], net.W[layer]
        place, turn = xp.cumsum(chosen, axis=-1), xp.cumsum(now, axis=-1)
        # (..., H new, H old): the k-th chosen neuron copies the k-th awake one.
        pick = (
            chosen[..., :, None] & now[..., None, :] & (place[..., :, None] == turn[..., None, :])
        )
        columns = xp.any(pick, axis=-1)[..., None, :]
        pick = pick.astype(net.dtype)
        halved = 1 - 0.5 * xp.sum(pick, axis=-2)[..., :, None]
        draw = step.draws.symmetric(W.shape[-2:], step.number, STREAM + layer, net.dtype)
        draw = draw * (self.noise * lengths(W) / lengths(draw))
        copies = matmul(W + draw, pick.mT)
        b[...] = xp.where(columns, matmul(b, pick.mT), b)
        W[...] = xp.where(columns, copies, W)
        V[...] = V * halved + 0.5 * matmul(pick, V)
        return columns[..., 0, :]


class ResidualFitting(Grow):
    """Wake neurons that fit what the others leave, while the others are held fixed (Ford et al., 2023).

        f <- f + g,   g(x) = sum over the newest neurons of a_h V_h
        dw_h = db_h = dV_h = 0 for all neurons but the newest

    Fitting g to the residual y - f(x) by squared error is the same as training f + g with f held fixed,
    and this is done under any loss. Ours differs from the paper in one point: every g is kept, because its
    threshold on the held-out error is not public. The output biases go on learning.
    """

    name = "residual-fitting"

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        super().prepare(net, layer, probe_inputs)
        self.kept[f"free{layer}"] = self.kept[f"awake{layer}"]

    def wake(self, step: Step, layer: int, chosen: Array, now: Array) -> Array:
        chosen = super().wake(step, layer, chosen, now)
        free = self.kept[f"free{layer}"]
        woken = xp.any(chosen, axis=-1, keepdims=True)
        self.kept[f"free{layer}"] = xp.where(woken, chosen, free)
        step.reset_moments(layer, woken & ~chosen)
        return chosen

    def watch(self, step: Step, layer: int) -> None:
        """Set the gradient of neurons that are held fixed to zero."""
        held = ~self.kept[f"free{layer}"]
        net = step.net
        for block, mask in (
            (net.dW[layer - 1], held[..., None, :]),
            (net.db[layer - 1], held[..., None, :]),
            (net.dW[layer], held[..., :, None]),
        ):
            block[...] = xp.where(mask, xp.zeros_like(block), block)
