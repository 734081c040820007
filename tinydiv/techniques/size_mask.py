"""Size mask: a controller opens a layer, as a whole or neuron by neuron."""

from math import pi

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.techniques.sized import Sized


class SizeMask(Sized):
    """A controller c opens a share p of the layer, c = 1 all of it (Radhakrishnan et al., 2025).

        p = sin^2(pi c / 2);   dp/dc = pi/2 sin(pi c)
        form=neurons   Y_k = m_k A_k,  m_k = min(max(p H - k, 0), 1),  k = 0, ..., H - 1
                       dm_k/dc = H dp/dc where 0 < p H - k < 1, else 0
        form=gate      Y = p A: one gate on the whole layer
        dA = m dY;   dc = share sum_k dm_k/dc sum_n A_nk dY_nk

    A (..., N, H); c (..., 1, 1) lies in theta. The paper describes the mask with an entry per neuron;
    the code that its authors released has a mask of length one, which is form=gate, and lets no gradient
    of the task reach c, which is share=0: then growth is a schedule that size-loss:goal=1 sets.
    share=1 is the whole gradient. size_input=true also feeds c to the neurons, Z + c w. The default start
    is above zero, where the derivative of p is 0. The layer folds into the outgoing weights.
    """

    name = "size-mask"
    key = "c"

    form: str = setting("neurons", choices=("neurons", "gate"), help="what the controller opens")
    start: float = setting(1e-5, low=0, high=1, help="the controller before the first step")
    share: float = setting(
        1.0,
        low=0,
        high=1,
        checked=False,
        help="share of the task's gradient that reaches the controller",
    )
    rate: float = setting(1.0, low=0, help="the learning rate of c, as a multiple of the others'")
    size_input: bool = setting(False, help="feed c to the neurons as one more input")

    def room(self) -> float:
        return 1.0

    def reaching(self) -> float:
        return self.share

    def gates(self) -> tuple[Array, Array]:
        c = self.size
        p, slope = xp.sin(c * (pi / 2)) ** 2, xp.sin(c * pi) * (pi / 2)
        neurons = xp.arange(self.width, dtype=self.dtype)
        if self.form == "gate":
            whole = (*p.shape[:-1], self.width)
            return xp.broadcast_to(p, whole), xp.broadcast_to(slope, whole)
        u = p * self.width - neurons
        opening = (u > 0) & (u < 1)
        return xp.clip(u, 0, 1), xp.where(opening, self.width * slope, xp.zeros_like(u))
