"""The step itself: the lines of the training loop, with every array kept.

The same batch, the same forward and backward, the same techniques and optimizer: the arrays shown are
those of the step itself. A test checks that the weights change exactly as they do in training.
"""

from collections.abc import Sequence

from tinydiv import losses
from tinydiv.backend import Array, quiet, to_device, xp
from tinydiv.buffer import indexed
from tinydiv.divergence import Guard
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.mlp import MLP, Trace
from tinydiv.optimizers import Optimizer, clip_factor
from tinydiv.techniques import Intervention, Step, Techniques
from tinydiv.trace.entries import StepTrace
from tinydiv.trace.shares import Share, shares_of
from tinydiv.trace.updates import of_network, text, update_formulas
from tinydiv.trace.watch import Watched

PROBABILITIES = {
    "cross-entropy": "softmax",
    "softened": "softmax",
    "binary-cross-entropy": "sigmoid",
}
"""The losses that read outputs as probabilities p, and how p comes from the outputs."""

FORMULAS = {
    "cross-entropy": ("-sum(y * log(p)) / N", "(p - y) / N"),
    "softened": ("-sum(q * log(p)) / N", "(p * sum_k(q) - q) / N"),
    "binary-cross-entropy": ("-sum(y * log(p) + (1 - y) * log(1 - p)) / N", "(p - y) / N"),
    "squared-error": ("sum((Z - y)^2) / (2 N)", "(Z - y) / N"),
}
"""Each loss and its gradient by the outputs Z."""


def formulas_of(shown: StepTrace) -> tuple[str, str]:
    """The loss and its gradient, with the weights s of the samples where they have some."""
    loss, gradient = FORMULAS[shown.loss]
    if "s" in shown:
        start, _, rest = loss.partition("sum(")
        inner, _, end = rest.rpartition(") / ")
        loss, gradient = f"{start}sum(s * ({inner})) / {end}", f"s * {gradient}"
    return loss, gradient


ROUNDING = 1e-5
"""Relative difference below which two ways to add the same gradients agree."""


def trace_step(
    net: MLP,
    optimizer: Optimizer,
    techniques: Techniques,
    X: Array,
    Y: Array,
    *,
    loss: str | losses.Loss = "cross-entropy",
    number: int = 0,
    epoch: int = 0,
    factor: float = 1.0,
    guard: Guard | None = None,
    network: int = 0,
    weights: Array | None = None,
) -> StepTrace:
    """Do one training step, exactly as loop.train does it, and keep every array.

    X (N, n_0) or (R, N, n_0), Y class numbers; weights of the samples, (N,) or (R, N), or None. number,
    epoch and factor are those of the training loop at that step; guard is its guard. Of several networks,
    `network` is shown. The networks are updated when this returns. Raises UsageError for an unknown loss.
    """
    loss_function = losses.get(loss)
    names = {function: name for name, function in losses.LOSSES.items()}
    softening, plain = loss_function, losses.without_softening(loss_function)
    if plain not in names:
        raise UsageError(
            f"there are no formulas for {loss!r} here: choose one of {list(names.values())}"
        )
    shown = StepTrace(net.sizes, repr(net.activation), names[plain], net.replicas, network, number)
    with quiet(), Watched(net) as watched:
        trace = net.forward(X, Context(training=True, step=number))
        if weights is not None:
            loss_function = losses.with_weights(loss_function, weights)
            techniques.loss = loss_function
            words = "the weight of each sample"
            shown.add("given", "s", words, weights[..., None], given=True)
        task_loss, dlogits = loss_function(trace.logits, Y)
        add_given(shown, net, optimizer, watched, X, losses.one_hot(Y, trace.logits))
        soften(shown, softening, trace.logits, Y)
        add_forward(shown, net, watched, trace)

        here = (trace, Y, task_loss, dlogits, number, epoch, factor)
        shares = shares_of(techniques, [techniques.step(*here) for _ in techniques.placed])
        add_loss(shown, net, trace.logits, task_loss, shares)
        add_techniques(shown, net, shares)

        step = techniques.step(*here)
        techniques.before_backward(step)
        net.backward(trace, step.dlogits, step.dA)
        unedited = net.dtheta.copy()
        techniques.after_backward(step)
        add_backward(shown, net, watched, trace, step, shares, unedited)

        if guard is not None:
            guard.count_from(number)
            guard.after_backward(trace, task_loss)
        if optimizer.clip is not None:
            factors = clip_factor(net.dtheta, optimizer.clip)[..., 0]
            most = text(of_network(optimizer.clip, network))
            words = f"min(1, {most} / (norm of all gradients + 1e-6))"
            shown.add("update", "c", words, factors, given=True)
        optimizer.step(factor)
        owned = owned_blocks(techniques)
        add_update(shown, net, optimizer, factor, owned)
        before = net.theta.copy()
        techniques.after_update(step)
        add_moves(shown, net, techniques, owned, before)
        if guard is not None:
            guard.after_update()
    if not net.layers:  # another forward pass would change a layer's batch statistics
        with quiet():
            after = loss_function(net.forward(X).logits, Y)[0]
        words = "L of the same samples with the new weights"
        shown.add("update", "L after", words, after, given=True)
    return shown


# Forward -------------------------------------------------------------------------------------------


def add_given(
    shown: StepTrace, net: MLP, optimizer: Optimizer, watched: Watched, X: Array, y: Array
) -> None:
    """The batch, the weights, and the moments if there were steps before."""
    shown.add("given", "N", "the samples of the batch", xp.asarray(float(X.shape[-2])), given=True)
    name = "X" if watched.at("inputs", 0) else "A[0]"
    shown.add("given", name, "the inputs, one row per sample", X, given=True)
    shown.add("given", "y", "the targets: 1 at each sample's class", y, given=True)
    for block in net.blocks:
        words = {"W": "weights, one column per neuron", "b": "biases, one per neuron"}
        known = indexed(block.name) != block.name
        what = words[block.name[0]] if known else "a layer's own parameters"
        shown.add("given", indexed(block.name), what, net.view(net.theta, block.name), given=True)
    if optimizer.moments and optimizer.steps == 0:
        shown.notes.append(f"{' and '.join(optimizer.moments)} are zero before the first step.")
    for key, moment in optimizer.moments.items() if optimizer.steps else ():
        for block in net.blocks:
            name = f"{key}.{indexed(block.name)}"
            view = net.view(moment, block.name)
            shown.add("given", name, "from the steps before", view, given=True)


def soften(shown: StepTrace, loss: losses.Loss, logits: Array, targets: Array) -> None:
    """The targets q after label smoothing and class weights, where the loss has them."""
    if getattr(loss, "func", None) is not losses.softened_cross_entropy:
        return
    settings = loss.keywords  # type: ignore[attr-defined]
    share, weights = settings["smoothing"], settings["class_weights"]
    formula = f"(1 - {text(share)}) y + {text(share / logits.shape[-1])}" if share else "y"
    rows = (1 - share) * losses.one_hot(targets, logits) + share / logits.shape[-1]
    if weights is not None:
        w = to_device(weights, dtype=str(logits.dtype))[None, :]
        shown.add("given", "w", "the weight of each class", w, given=True)
        rows, formula = rows * w, f"w * ({formula})"
    shown.add("given", "q", formula, rows)
    shown.loss = "softened"


def through(names: Sequence[str], array: str) -> str:
    """Layers one after the other, written as functions: zca(batch-norm(U[0]))."""
    for name in names:
        array = f"{name}({array})"
    return array


def add_forward(shown: StepTrace, net: MLP, watched: Watched, trace: Trace) -> None:
    """Z[l] and A[l+1] of every layer; with layers before or after the activation also U[l] and H[l+1]."""
    if watched.at("inputs", 0):
        shown.add("forward", "A[0]", through(watched.at("inputs", 0), "X"), trace.A[0])
    for l in range(net.depth):
        Z, A, formula = f"Z[{l}]", f"A[{l + 1}]", f"A[{l}] W[{l}] + b[{l}]"
        if l == net.depth - 1:
            shown.add("forward", Z, formula, trace.Z[l])
            return
        if before := watched.at("before", l):
            shown.add("forward", f"U[{l}]", formula, watched.entering(trace, "before", l)["x"])
            formula = through(before, f"U[{l}]")
        shown.add("forward", Z, formula, trace.Z[l])
        formula = f"{net.activation!r}({Z})"
        if after := watched.at("after", l):
            H = f"H[{l + 1}]"
            shown.add("forward", H, formula, watched.entering(trace, "after", l)["x"])
            formula = through(after, H)
        shown.add("forward", A, formula, trace.A[l + 1])


def outputs_in(shown: StepTrace, formula: str) -> str:
    """A formula of FORMULAS with the outputs' name in the place of Z."""
    return formula.replace("Z", f"Z[{len(shown.sizes) - 2}]")


def add_loss(
    shown: StepTrace, net: MLP, logits: Array, task_loss: Array, shares: Sequence[Share]
) -> None:
    """The probabilities, the task's loss, each penalty's value, and their sum."""
    if shown.loss in PROBABILITIES:
        how = PROBABILITIES[shown.loss]
        p = losses.softmax(logits) if how == "softmax" else 0.5 * (1 + xp.tanh(0.5 * logits))
        shown.add("loss", "p", outputs_in(shown, f"{how}(Z)"), p)
    shown.add("loss", "L", outputs_in(shown, formulas_of(shown)[0]), task_loss)
    values = {name: value for share in shares for name, value in share.values.items()}
    for name, value in values.items():
        shown.add("loss", name, "the penalty, times its strength", value, given=True)
    if values:
        total = sum(values.values(), start=task_loss)
        shown.add("loss", "total", " + ".join(["L", *values]), total)


def add_techniques(shown: StepTrace, net: MLP, shares: Sequence[Share]) -> None:
    """Where each penalty's gradients enter: at activations, at the outputs, at weights."""
    for share in shares:
        parts = {f"A[{layer}]": dA for layer, dA in sorted(share.dA.items())}
        if share.dlogits is not None:
            parts[f"Z[{net.depth - 1}]"] = share.dlogits
        parts |= {indexed(block): gradient for block, gradient in share.blocks.items()}
        for name, gradient in parts.items():
            words = f"the gradient of {share.label} by {name}"
            shown.add("techniques", f"{share.label}.d{name}", words, gradient, given=True)
        if not share.values:
            shown.notes.append(f"{share.label} adds nothing in this step: its strength is 0 now.")


# Backward ------------------------------------------------------------------------------------------


def add_backward(
    shown: StepTrace,
    net: MLP,
    watched: Watched,
    trace: Trace,
    step: Step,
    shares: Sequence[Share],
    plain: Array,
) -> None:
    """From dZ of the outputs to dW, db of the first layer, in the order in which they are computed.

    plain: dtheta as the backward pass left it, before gradients of weights were added.
    """
    added = plain.copy()
    for share in shares:
        for block, gradient in share.blocks.items():
            net.view(added, block)[...] += gradient

    def add(name: str, formula: str, a: Array) -> None:
        """One gradient, with what the penalties add: dZ[1] W[1]' + decov.dA[1]."""
        terms = [f"{s.label}.{name}" for s in shares if f"{s.label}.{name}" in shown]
        shown.add("backward", name, " + ".join([formula, *terms]), a)

    last = net.depth - 1
    add(f"dZ[{last}]", outputs_in(shown, formulas_of(shown)[1]), step.dlogits)
    for l in reversed(range(net.depth)):
        product = f"dU[{l}]" if l < last and watched.at("before", l) else f"dZ[{l}]"
        add(f"dW[{l}]", f"A[{l}]' {product}", net.view(added, f"W{l}"))
        add(f"db[{l}]", f"sum_n {product}", net.view(added, f"b{l}"))
        if l == 0:
            break
        dA, dZ = f"dA[{l}]", f"dZ[{l - 1}]"
        add(dA, f"{product} W[{l}]'", watched.leaving(trace, "after", l - 1)["dx"])
        back = dA
        if after := watched.at("after", l - 1):
            back = f"dH[{l}]"
            formula = through([f"{name}'" for name in reversed(after)], dA)
            add(back, formula, watched.entering(trace, "after", l - 1)["dx"])
        formula = f"{back} * {net.activation!r}'(Z[{l - 1}])"
        add(dZ, formula, watched.leaving(trace, "before", l - 1)["dx"])
        if before := watched.at("before", l - 1):
            formula = through([f"{name}'" for name in reversed(before)], dZ)
            add(f"dU[{l - 1}]", formula, watched.entering(trace, "before", l - 1)["dx"])
    for piece in net.blocks:
        name = f"d{indexed(piece.name)}"
        if name not in shown:
            words = "from the layer's own backward pass"
            shown.add("backward", name, words, net.view(added, piece.name), given=True)
    for piece in net.blocks:
        old, new = net.view(added, piece.name), net.view(net.dtheta, piece.name)
        if bool((abs(new - old) > ROUNDING * xp.max(abs(old))).any()):
            name = f"d{indexed(piece.name)}"
            shown.add("backward", name, "edited by an intervention", new, "<-", given=True)


# Update --------------------------------------------------------------------------------------------


def owned_blocks(techniques: Techniques) -> dict[str, str]:
    """Which blocks of theta an intervention updates in the optimizer's place, and its name."""
    return {
        owned: placed.label
        for placed, layers in zip(techniques.placed, techniques.layers_at, strict=True)
        if isinstance(placed.technique, Intervention)
        for layer in layers
        for owned in placed.technique.owns(layer)
    }


def add_update(
    shown: StepTrace, net: MLP, optimizer: Optimizer, factor: float, owned: dict[str, str]
) -> None:
    """The optimizer's formulas, block by block, and their results."""
    for block in net.blocks:
        if block.name in owned:
            continue
        name = indexed(block.name)
        statements = update_formulas(optimizer, block.name, name, factor, shown.network)
        if statements is None:
            words = f"the step of {optimizer.name}"
            shown.add("update", name, words, net.view(net.theta, block.name), "<-", given=True)
            continue
        for array, formula in statements:
            key = array.partition(".")[0] if array != name else ""
            buffer = optimizer.moments[key] if key else net.theta
            shown.add("update", array, formula, net.view(buffer, block.name), "<-")


def add_moves(
    shown: StepTrace, net: MLP, techniques: Techniques, owned: dict[str, str], before: Array
) -> None:
    """Updates that a technique owns, and weights that an intervention changed after the step."""
    moved = False
    for block in net.blocks:
        old, new = net.view(before, block.name), net.view(net.theta, block.name)
        if block.name in owned:
            words = f"the update of {owned[block.name]}, which owns it"
        elif bool((old != new).any()):
            words, moved = "moved by an intervention after the step", True
        else:
            continue
        shown.add("update", indexed(block.name), words, new, "<-", given=True)
    for placed in techniques.placed:
        moves = isinstance(placed.technique, Intervention) and not any(
            label == placed.label for label in owned.values()
        )
        edited = any(entry.formula.startswith("edited") for entry in shown.entries)
        if moves and not moved and not edited:
            when = (
                f"every {placed.every} steps" if placed.every > 1 else "when its condition is met"
            )
            shown.notes.append(f"{placed.label} did nothing in this step: it acts {when}.")
