"""Every name that a command takes, with one line and its paper: --list, as text or as data."""

import dataclasses
import textwrap
from collections.abc import Callable, Iterable

from tinydiv import activations, data, diversity, losses, optimizers, schedules
from tinydiv.errors import UsageError, nearest
from tinydiv.initializers import BASES, SCHEMES, Scheme
from tinydiv.techniques import TECHNIQUES, Technique
from tinydiv.techniques.cost import REFERENCE, cost_text, relative_cost
from tinydiv.techniques.placing import COMMON, kind_of

Entry = dict[str, object]
"""One name: name, summary, paper, and for techniques family, kind, settings and relative cost."""

BACKENDS = (
    ("numpy", "the CPU", "Harris et al., Nature 585, 2020"),
    ("cupy", "an NVIDIA GPU; needs the extra cuda12 or cuda13", "Okuta et al., LearningSys 2017"),
    ("auto", "cupy where a GPU works, else numpy", ""),
)

LOSSES = {
    "cross-entropy": ("softmax cross-entropy: one class per sample", "Bridle, 1990"),
    "binary-cross-entropy": (
        "every output is a yes or a no, with a sigmoid of its own",
        "Solla, Levin and Fleisher, 1988",
    ),
    "squared-error": ("half the squared distance, summed over outputs", "Legendre, 1805"),
}
SCHEDULES = {
    "constant": ("the same rate throughout", ""),
    "linear": ("the rate falls to 0 in a straight line", ""),
    "cosine": ("the rate falls to 0: slow, fast, slow", "Loshchilov and Hutter, ICLR 2017"),
}


def entry(name: str, summary: str, paper: str) -> Entry:
    """The three things that every name has."""
    return {"name": name, "summary": summary, "paper": paper}


def starts() -> list[Entry]:
    """The initializers: schemes with their settings, then base draws, which have none."""
    schemes = [
        entry(cls.name, cls.summary, cls.paper) | {"settings": own_settings(cls)}
        for cls in SCHEMES.values()
    ]
    bases = [entry(b.name, b.summary, b.paper) | {"settings": {}} for b in BASES.values()]
    return schemes + bases


def described(names: Iterable[str], lines: dict[str, tuple[str, str]]) -> list[Entry]:
    """Functions, which have no line of their own, with the lines above."""
    return [entry(name, *lines[name]) for name in names]


def own_settings(cls: type[Technique | Scheme]) -> dict[str, object]:
    """What a technique or a start can be told, with the defaults."""
    return {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]


def techniques() -> list[Entry]:
    """The techniques, with family, kind, own settings, and what they cost beside a plain step."""
    entries = []
    for cls in TECHNIQUES.values():
        technique = cls()
        more = {
            "family": cls.family,
            "kind": kind_of(cls),
            "settings": own_settings(cls),
            "relative_cost": relative_cost(technique),
        }
        entries.append(entry(cls.name, cls.summary, cls.paper) | more)
    return entries


KINDS: dict[str, Callable[[], list[Entry]]] = {
    "techniques": techniques,
    "initializers": starts,
    "data": lambda: [entry(*found) for found in data.describe()],
    "activations": lambda: [
        entry(a.name, a.summary, a.paper) for a in activations.ACTIVATIONS.values()
    ],
    "losses": lambda: described(losses.LOSSES, LOSSES),
    "optimizers": lambda: [
        entry(o.name, o.summary, o.paper) for o in optimizers.OPTIMIZERS.values()
    ],
    "schedules": lambda: described(schedules.SHAPES, SCHEDULES),
    "metrics": lambda: [entry(m.name, m.summary, m.paper) for m in diversity.METRICS.values()],
    "backends": lambda: [entry(*found) for found in BACKENDS],
}
"""What can be listed, and how."""


def entries(kind: str = "all") -> dict[str, list[Entry]]:
    """The names of one kind, or of all, by kind. Raises UsageError for an unknown kind."""
    if kind not in ("all", *KINDS):
        raise UsageError(f"there is no list of {kind!r}: {nearest(kind, ('all', *KINDS))}")
    return {name: make() for name, make in KINDS.items() if kind in ("all", name)}


def as_text(found: dict[str, list[Entry]]) -> str:
    """The same for reading."""
    return "\n\n".join(section(kind, names) for kind, names in found.items())


def section(kind: str, names: list[Entry]) -> str:
    """One kind: its name, then a line per entry with name, summary and paper."""
    width = max(len(str(one["name"])) for one in names)
    lines = [kind]
    for one in names:
        said = str(one["summary"])
        if kind == "techniques":
            cls = TECHNIQUES[str(one["name"])]
            said = f"[{cls.family}, {kind_of(cls)}, {cost_text(cls())} flops] {said}"
        settings = one.get("settings")
        if isinstance(settings, dict) and settings:
            said += "; settings " + ", ".join(f"{key}={value}" for key, value in settings.items())
        if one["paper"]:
            said += f" ({one['paper']})"
        lines += textwrap.wrap(
            said,
            width=100,
            initial_indent=f"  {one['name']!s:{width}}  ",
            subsequent_indent=" " * (width + 4),
        )
    if kind == "initializers":
        lines.append(
            "  schemes stand on base draws and on each other: lowdin:mix=0.5@glorot-uniform"
        )
    if kind == "techniques":
        at = REFERENCE
        lines.append(
            f"  flops are those beside a plain step of {at.D}-{at.H}-{at.K} in batches of {at.N}"
        )
        lines += [f"  every {kind} also takes {', '.join(keys)}" for kind, keys in COMMON.items()]
    return "\n".join(lines)
