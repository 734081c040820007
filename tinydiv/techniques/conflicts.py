"""Which techniques exclude each other, and why: naming both is refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinydiv.errors import UsageError
from tinydiv.techniques.base import Intervention

if TYPE_CHECKING:
    from tinydiv.techniques.placing import Placed

RECYCLERS = ("merge-recycle", "redo", "continual-backprop")
MOVERS = (*RECYCLERS, "orthogonal-noise", "reorthogonalise")
"""Interventions that move weights of single neurons, or of all in a layer, between two steps."""


def pairs(
    firsts: tuple[str, ...], seconds: tuple[str, ...], reason: str
) -> dict[frozenset[str], str]:
    """The same reason for every pair of one name from the first group and one from the second."""
    return {frozenset((a, b)): reason for a in firsts for b in seconds if a != b}


GROWERS = ("grow", "residual-fitting", "gradmax", "net2net")
"""Interventions under which neurons sleep (all their weights are zero) until they are woken."""
NORMS = ("batch-norm", "zca-norm", "iter-norm")
CONFLICTS: dict[frozenset[str], str] = {
    **pairs(GROWERS, GROWERS, "both decide which neurons are awake, so choose one"),
    **pairs(
        GROWERS,
        (
            *MOVERS,
            "zca-norm",
            "iter-norm",
            "cayley",
            "toeplitz",
            "orthogonal-gradient",
            "consensus",
        ),
        "sleeping neurons have no weights, and the other would wake them or mix them with the rest",
    ),
    **pairs(
        GROWERS,
        ("local-alignment",),
        "local-alignment's own updates would reach sleeping neurons",
    ),
    **pairs(
        ("learned-size", *GROWERS),
        ("size-mask", "learned-size"),
        "both decide how many neurons take part, so choose one",
    ),
    **pairs(NORMS, NORMS, "both normalise the same pre-activations, so choose one"),
    **pairs(
        ("zca-norm", "iter-norm"),
        RECYCLERS,
        "whitening mixes all neurons of a layer, so none can be replaced without changing the others",
    ),
    **pairs(
        ("cayley",),
        (*MOVERS, "consensus"),
        "cayley keeps the weights orthogonal, and changes between its steps would undo that",
    ),
    **pairs(
        ("toeplitz",),
        (*MOVERS, "muon", "cayley", "orthogonal-gradient", "shared-direction"),
        "toeplitz neurons are shifts of one another, and the other would change that",
    ),
    **pairs(("muon",), ("orthogonal-gradient",), "muon orthogonalises the gradient already"),
    **pairs(
        ("local-alignment",),
        ("gradient-projection",),
        "local-alignment puts its own updates in the place of the gradient that would be protected",
    ),
    **pairs(
        ("local-alignment",),
        ("toeplitz",),
        "both replace the gradient of the hidden weights, each by its own rule",
    ),
}
"""Pairs by name, with the reason. Two owners of one update need no entry: that is checked below."""


def refuse_conflicts(placed: list[Placed], layers_at: list[tuple[int, ...]]) -> None:
    """Raise UsageError for the first pair that cannot work together, or a trigger on a technique that
    acts in every step."""
    owner: dict[str, str] = {}
    for p, layers in zip(placed, layers_at, strict=True):
        if not isinstance(p.technique, Intervention):
            continue
        waits = (p.every, p.after, p.when) != (1, 0, "always")
        if p.technique.in_every_step and waits:
            raise UsageError(
                f"{p.label} works in every step or not at all: it takes no every, after or when"
            )
        for block in (block for layer in layers for block in p.technique.owns(layer)):
            if block in owner:
                raise UsageError(
                    f"{owner[block]} and {p.label} both own the update of {block}: choose one"
                )
            owner[block] = p.label
    for i, first in enumerate(placed):
        for second in placed[i + 1 :]:
            reason = CONFLICTS.get(frozenset((first.label, second.label)))
            if reason and share_a_layer(first, second):
                raise UsageError(f"{first.label} and {second.label} exclude each other: {reason}")


def share_a_layer(first: Placed, second: Placed) -> bool:
    """Whether two techniques act on the same hidden layer (without layers= they act on all)."""
    if first.layers is None or second.layers is None:
        return True
    return bool(reached(first, second) & reached(second, first))


def reached(one: Placed, other: Placed) -> set[int]:
    """The hidden layers whose weights one technique changes, as far as that excludes the other one.

    A recycler silences a neuron's outgoing weights: those are the next layer's incoming ones.
    """
    layers = set(one.layers or ())
    if one.label in RECYCLERS and other.label in ("cayley", "toeplitz"):
        layers |= {layer + 1 for layer in layers}
    return layers
