"""What each penalty alone adds to a step: upstream gradients for backward, and gradients of weights."""

import copy
from dataclasses import dataclass

from tinydiv.backend import Array, to_host
from tinydiv.techniques import Penalty, Step, Techniques


@dataclass
class Share:
    """One penalty's contributions. Backward is linear in the upstream gradients, so all shares add up."""

    label: str
    values: dict[str, Array]
    """Its value per network, by the name that records give it."""
    dA: dict[int, Array]
    dlogits: Array | None
    blocks: dict[str, Array]
    """Gradients that are added to those of weights after the backward pass, by block of theta."""


def shares_of(techniques: Techniques, steps: list[Step]) -> list[Share]:
    """One share per penalty. steps: one for each technique, fresh from techniques.step().

    Each is evaluated on a copy, as if it were the only one, so nothing changes for the step that follows,
    except dtheta, which is overwritten. A technique that is used twice is numbered: decov, decov#2.
    """
    found: list[Share] = []
    for i, step in enumerate(steps):
        if isinstance(techniques.placed[i].technique, Penalty):
            share = share_of(techniques, i, step)
            twice = sum(other.label.partition("#")[0] == share.label for other in found)
            if twice:
                old, share.label = share.label, f"{share.label}#{twice + 1}"
                share.values = {
                    share.label + name.removeprefix(old): value
                    for name, value in share.values.items()
                }
            found.append(share)
    return found


def share_of(techniques: Techniques, i: int, step: Step) -> Share:
    """The share of the technique at one position."""
    net, alone = techniques.net, copy.copy(techniques)
    alone.placed = [copy.deepcopy(techniques.placed[i])]
    alone.layers_at = [techniques.layers_at[i]]
    alone.strengths = [techniques.strengths[i]]
    alone.plateaus = [copy.deepcopy(techniques.plateaus[i])]
    remembered = [
        {key: to_host(value).copy() for key, value in layer.state().items()} for layer in net.layers
    ]
    alone.before_backward(step)
    net.dtheta[...] = 0
    alone.after_backward(step)
    for layer, state in zip(net.layers, remembered, strict=True):
        layer.load_state(state)  # a second pass would change running statistics
    blocks = {block.name: net.view(net.dtheta, block.name).copy() for block in net.blocks}
    return Share(
        alone.placed[0].label,
        step.penalties,
        step.dA,
        None if step.dlogits is step.task_dlogits else step.dlogits - step.task_dlogits,
        {name: block for name, block in blocks.items() if bool((block != 0).any())},
    )
