"""Cases of the losses: the gradient with respect to the outputs, for every form of targets."""

from collections.abc import Iterator, Sequence

from tinydiv.backend import Array, to_host, xp
from tinydiv.check import points
from tinydiv.check.evidence import Facts
from tinydiv.check.judge import Case
from tinydiv.check.numeric import Point
from tinydiv.losses import Loss, one_hot

N, K = 7, 4


def loss_cases(loss: Loss, subject: str, seed: int) -> Iterator[Case]:
    """One network and several; targets as class numbers and as rows of numbers."""
    rows = abs(points.numbers(N, K, seed=seed + 2))
    shared, own = (points.labels(*lead, N, classes=K, seed=seed + 3) for lead in ((), (3,)))
    probabilities = rows / xp.sum(rows, axis=-1, keepdims=True)
    for where, lead, targets in (
        ("class numbers", (), shared),
        ("rows of numbers", (), probabilities),
        ("3 networks", (3,), shared),
        ("3 networks with targets of their own", (3,), own),
    ):
        outputs = points.numbers(*lead, N, K, seed=seed + 1, scale=2.0)
        yield loss_case(loss, subject, f"{where}, N={N}", outputs, targets)
    outputs = points.numbers(40, 20, seed=seed + 1, scale=15.0)
    large = points.labels(40, classes=20, seed=seed + 3)
    yield loss_case(loss, subject, "large outputs, N=40", outputs, large)


def loss_case(loss: Loss, subject: str, where: str, outputs: Array, targets: Array) -> Case:
    """One loss at one point; the values of several networks are weighted at random."""

    def function(at: Point) -> list[Array]:
        return [loss(at["outputs"], targets)[0]]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        return {"outputs": weights[0][..., None, None] * loss(at["outputs"], targets)[1]}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        Y = one_hot(targets, at["outputs"])
        return Facts(
            samples=outputs.shape[-2],
            sizes={"the number of outputs": outputs.shape[-1]},
            rows={"outputs": "samples"},
            lead=outputs.ndim > 2,
            extras={"outputs": {"the targets": to_host(Y)}},
        )

    point = {"outputs": outputs}
    return Case("loss", subject, where, point, function, gradients, facts, divided=True)
