"""Activation functions, each beside its derivative.

Every function maps pre-activations Z of any shape to activations of the same shape; `derivative`
maps the same Z to f'(Z). The chain rule in mlp.py multiplies by it: dZ = dA * f'(Z).
"""

from tinydiv.backend import Array, xp
from tinydiv.errors import check_known


class Activation:
    """A function applied to every entry. `kinks` are the points without a derivative."""

    name = ""
    kinks: tuple[float, ...] = ()

    def __call__(self, Z: Array) -> Array:
        """A = f(Z)."""
        raise NotImplementedError

    def derivative(self, Z: Array) -> Array:
        """f'(Z); at a kink, the derivative from the left."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.name


class ReLU(Activation):
    """The positive part, max(0, z) (Nair and Hinton, 2010).

    f(z) = max(0, z);  f'(z) = 1 where z > 0, else 0.

    The mask is read from Z, not from f(Z) >= 0, which is true everywhere.
    """

    name = "relu"
    kinks = (0.0,)

    def __call__(self, Z: Array) -> Array:
        return xp.maximum(Z, 0)

    def derivative(self, Z: Array) -> Array:
        return (Z > 0).astype(Z.dtype)


class LeakyReLU(Activation):
    """z where positive, 0.01 z elsewhere: no neuron dies for good (Maas, Hannun and Ng, 2013).

    f(z) = z where z > 0, else 0.01 z;  f'(z) = 1 where z > 0, else 0.01.
    """

    name = "leaky-relu"
    kinks = (0.0,)
    slope = 0.01

    def __call__(self, Z: Array) -> Array:
        return xp.maximum(Z, self.slope * Z)

    def derivative(self, Z: Array) -> Array:
        return (Z > 0).astype(Z.dtype) * (1 - self.slope) + self.slope


class Tanh(Activation):
    """tanh z, odd and bounded (LeCun, Bottou, Orr and Mueller, 1998).

    f(z) = tanh z;  f'(z) = 1 - tanh(z)^2.
    """

    name = "tanh"

    def __call__(self, Z: Array) -> Array:
        return xp.tanh(Z)

    def derivative(self, Z: Array) -> Array:
        return 1 - xp.tanh(Z) ** 2


class Sigmoid(Activation):
    """1 / (1 + exp(-z)) (Rumelhart, Hinton and Williams, 1986).

    f(z) = 1 / (1 + e^-z) = (1 + tanh(z/2)) / 2, which cannot overflow;  f'(z) = f (1 - f).
    """

    name = "sigmoid"

    def __call__(self, Z: Array) -> Array:
        return 0.5 * (1 + xp.tanh(0.5 * Z))

    def derivative(self, Z: Array) -> Array:
        S = self(Z)
        return S * (1 - S)


class GELU(Activation):
    """z times the normal distribution function, in its tanh form (Hendrycks and Gimpel, 2016).

    f(z) = z/2 (1 + tanh u), u = sqrt(2/pi) (z + 0.044715 z^3).

    f'(z) = (1 + tanh u)/2 + z/2 (1 - tanh(u)^2) u',  u' = sqrt(2/pi) (1 + 3 * 0.044715 z^2)
    """

    name = "gelu"
    scale = (2 / 3.141592653589793) ** 0.5
    cubic = 0.044715

    def __call__(self, Z: Array) -> Array:
        return 0.5 * Z * (1 + xp.tanh(self.scale * (Z + self.cubic * Z**3)))

    def derivative(self, Z: Array) -> Array:
        T = xp.tanh(self.scale * (Z + self.cubic * Z**3))
        dU = self.scale * (1 + 3 * self.cubic * Z**2)
        return 0.5 * (1 + T) + 0.5 * Z * (1 - T**2) * dU


class Identity(Activation):
    """z: a deep linear network.

    f(z) = z;  f'(z) = 1.
    """

    name = "identity"

    def __call__(self, Z: Array) -> Array:
        return Z

    def derivative(self, Z: Array) -> Array:
        return xp.ones_like(Z)


ACTIVATIONS: dict[str, Activation] = {
    f.name: f for f in (ReLU(), LeakyReLU(), Tanh(), Sigmoid(), GELU(), Identity())
}


def get(activation: str | Activation) -> Activation:
    """The activation of that name (or the given one). Raises UsageError for an unknown name.

    A function of that name, such as np.tanh, stands for it.
    """
    if isinstance(activation, Activation):
        return activation
    activation = str(getattr(activation, "__name__", activation))
    check_known("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]
