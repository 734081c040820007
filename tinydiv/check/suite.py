"""Everything in the package that has a gradient, by name, and how it is checked.

report = run()                      all of it
report = run(only=["decov"])        one name, or a group: activations, losses, network, penalties, ...
report = check_technique(Mine)      a class of your own
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from tinydiv import activations, losses
from tinydiv.activations import Activation
from tinydiv.backend import Array, xp
from tinydiv.check.doctor import raised_finding
from tinydiv.check.evidence import Finding
from tinydiv.check.interventions import failure_in_training
from tinydiv.check.judge import Case, Verdict, judge
from tinydiv.check.layers import unmet_requirement
from tinydiv.check.losses import loss_cases
from tinydiv.check.network import Backward, activation_cases, network_cases, present_case
from tinydiv.check.report import InterventionResult, Report
from tinydiv.check.techniques import layer_cases, penalty_cases
from tinydiv.errors import RunError, UsageError, nearest
from tinydiv.losses import Loss
from tinydiv.mlp import MLP, Trace
from tinydiv.techniques.base import Intervention, LayerTechnique, Penalty, Technique
from tinydiv.techniques.placing import kind_of
from tinydiv.techniques.registry import TECHNIQUES

OnSubject = Callable[[str, Report], None]
"""Called with (subject, report) once a subject is done."""

Cases = Iterable[Case | Sequence[Case]]
"""Single cases, and groups of cases of which only one counts (see `active`)."""

GROUPS = ("network", "activations", "losses", "penalties", "layers", "interventions")


def group_of(cls: type[Technique]) -> str:
    """The plural of a technique's kind."""
    kind = kind_of(cls)
    return "penalties" if kind == "penalty" else f"{kind}s"


def subjects() -> dict[str, str]:
    """Every name that can be checked, with its group, in the order of the report."""
    found = {"network": "network"}
    found |= dict.fromkeys(activations.ACTIVATIONS, "activations")
    found |= dict.fromkeys(losses.LOSSES, "losses")
    kinds = {name: group_of(cls) for name, cls in TECHNIQUES.items()}
    for group in GROUPS[3:]:
        found |= {name: kind for name, kind in kinds.items() if kind == group}
    return found


def chosen(only: Sequence[str]) -> list[str]:
    """The subjects that names and groups select. Raises UsageError for an unknown one."""
    known = subjects()
    for name in only:
        if name not in known and name not in GROUPS:
            raise UsageError(f"there is no {name!r} to check: {nearest(name, [*GROUPS, *known])}")
    return [n for n, group in known.items() if not only or n in only or group in only]


def run(only: Sequence[str] = (), seed: int = 0, on_subject: OnSubject | None = None) -> Report:
    """Check what the package offers: everything, or some names and groups.

    Raises UsageError for a name that does not exist.
    """
    report = Report(seed)
    for name in chosen(only):
        with report.timing():
            if name in TECHNIQUES:
                technique_into(report, TECHNIQUES[name], seed)
            else:
                examine(report, cases_of(name, seed), seed)
        if on_subject is not None:
            on_subject(name, report)
    return report


def cases_of(name: str, seed: int) -> Cases:
    """The points at which one built-in subject is checked; none for an intervention."""
    group = subjects()[name]
    if group == "network":
        return network_cases(seed)
    if group == "activations":
        return activation_cases(activations.get(name), seed)
    if group == "losses":
        return loss_cases(losses.get(name), name, seed)
    return technique_cases(TECHNIQUES[name], seed)


def technique_cases(
    cls: type[Technique], seed: int, name: str = "", settings: dict[str, object] | None = None
) -> Cases:
    """The points at which a technique is checked: with the given settings, or with all that change its
    maths."""
    if issubclass(cls, Penalty):
        return penalty_cases(cls, seed, name, settings)
    if issubclass(cls, LayerTechnique):
        return layer_cases(cls, seed, name, settings)
    if issubclass(cls, Intervention):
        return ()
    raise TypeError(f"{cls.__name__} is not a penalty, layer or intervention")


def technique_into(
    report: Report,
    cls: type[Technique],
    seed: int,
    name: str = "",
    settings: dict[str, object] | None = None,
) -> None:
    """Check one technique, of whatever kind, and add what was found to a report."""
    name = name or cls.name

    def failed(kind: str, where: str, array: str, finding: Finding) -> None:
        case = Case(kind, name, where, {}, lambda at: [], lambda at, weights: {})
        report.add([Verdict(case, array, "error", finding=finding)])

    if issubclass(cls, Intervention):
        own = cls not in TECHNIQUES.values()
        fault = failure_in_training(cls, seed, settings or {}) if own else ""
        report.interventions.append(InterventionResult(name, cls.invariant, own, fault))
        return
    try:
        examine(report, technique_cases(cls, seed, name, settings), seed)
        if issubclass(cls, LayerTechnique) and not report.of(name, failed=True):
            words = unmet_requirement(cls, seed, settings or {})
            if words:
                finding = Finding("requirement", words)
                failed("layer", "in a small network", "evaluation", finding)
    except (UsageError, RunError):
        raise
    except Exception as error:  # a user's own class whose constructor fails
        failed("technique", "made with its settings", "value", raised_finding(error))


def examine(report: Report, cases: Cases, seed: int) -> None:
    """Judge cases one after the other, and keep what is found."""
    before = len(report.rows)
    for item in cases:
        report.add(active(item, lambda case: judge_after(report, case, seed)))
    for row in report.rows[before:]:
        row.compare_points(seed)


def active(item: Case | Sequence[Case], judged: Callable[[Case], list[Verdict]]) -> list[Verdict]:
    """The verdicts about a case. In a group, the first case counts whose gradients are not all zeros: a
    hinge may be inactive at one scale and active at another. If there is none, the first case counts: the
    check proves nothing, and fails.
    """
    first: list[Verdict] | None = None
    for case in [item] if isinstance(item, Case) else item:
        verdicts = judged(case)
        if not any(v.status in ("zero", "kink") for v in verdicts):
            return verdicts
        first = verdicts if first is None else first
    return first or []


def judge_after(report: Report, case: Case, seed: int) -> list[Verdict]:
    """Judge one case. A fault that has a name already is only reported as wrong."""
    if case.kind != "objective" or not report.named("penalty", case.subject):
        return judge(case, seed, report.named(case.kind, case.subject))
    verdicts = judge(case, seed, known=[f"d{name}" for name in case.point])
    for v in verdicts:
        if v.status == "wrong":
            v.finding = INCLUDED
    return verdicts


INCLUDED = Finding("taken-in", "includes the error of the technique's own gradient, above")


# A single subject --------------------------------------------------------------------------------


def timed(fill: Callable[[Report], None], seed: int) -> Report:
    """A new report, filled by a function, with the time that it took."""
    report = Report(seed)
    with report.timing():
        fill(report)
    report.note_limits()
    return report


def check_technique(cls: type[Technique], seed: int = 0) -> Report:
    """Check a technique's gradients, in every setting that changes its maths."""
    return timed(lambda report: technique_into(report, cls, seed), seed)


def check_activation(activation: Activation, seed: int = 0) -> Report:
    """Check an activation function's derivative."""
    name = activation.name or type(activation).__name__
    return timed(lambda r: examine(r, activation_cases(activation, seed, name), seed), seed)


def check_loss(loss: Loss, seed: int = 0) -> Report:
    """Check a loss's gradient: loss(outputs, targets) -> (value, doutputs)."""
    name = getattr(loss, "__name__", "loss")
    return timed(lambda report: examine(report, loss_cases(loss, name, seed), seed), seed)


def check_backward(backward: Backward, seed: int = 0, kind: type[MLP] = MLP) -> Report:
    """Check a backward pass in place of the network's own: backward(net, trace, dlogits, dA=None)."""
    name = getattr(backward, "__name__", "backward")
    cases = network_cases(seed, kind, backward, name)
    return timed(lambda report: examine(report, cases, seed), seed)


def check_gradients(
    net: MLP, trace: Trace, dlogits: Array, dA: Mapping[int, Array] | None = None, seed: int = 0
) -> Report:
    """Check the gradients that are in net.dW and net.db now, from a backward pass or changed by hand.

        trace = net.forward(X)
        net.backward(trace, dlogits)
        net.dW[0] = net.dW[0] * 0.5
        print(check_gradients(net, trace, dlogits))         dW[0]: WRONG: 2.000x too small

    trace, dlogits, dA: those of the backward pass. The arrays should be the gradient of
    sum(dlogits * outputs) + sum_l sum(dA[l] * A[l]) with respect to W and b, at the network's weights: that
    is the loss's gradient where dlogits is the loss's. With many networks all of them are checked. The
    check leaves the network as it was.

    Raises UsageError for a network that computes in float32, an upstream gradient that does not fit, and a
    trace that is not what the network computes now.
    """
    if net.dtype != "float64":
        raise UsageError(
            "gradients are checked in float64, but this network computes in float32: "
            'make it with MLP(..., dtype="float64")'
        )
    net.check_upstream(trace, dlogits, dA)
    now = net.forward(trace.inputs).logits
    if now.shape != trace.logits.shape or not bool(xp.all(now == trace.logits)):
        raise UsageError(
            "the trace is not what the network computes from its inputs now: check before the weights "
            "change, and without layers that compute something else in training"
        )
    case = present_case(net, trace, dlogits, dA or {}, "net")
    theta, dtheta = net.theta.copy(), net.dtheta.copy()
    report = Report(seed)
    try:
        with report.timing():
            examine(report, [case], seed)
    finally:
        net.theta[...], net.dtheta[...] = theta, dtheta
    report.note_limits(one_point=True)
    return report


def check_network(kind: type[MLP], seed: int = 0) -> Report:
    """Check a class of networks: a subclass of MLP, or an edited copy of it."""
    cases = network_cases(seed, kind, subject=kind.__name__)
    return timed(lambda report: examine(report, cases, seed), seed)
