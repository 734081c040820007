"""Specs of starts: scheme:key=value@base, read from the right: a base draw, then what changes it.

he-normal                                a base draw
response-zca                             a scheme on its own default base
lowdin:mix=0.5@glorot-uniform            a scheme with a setting, on a base
scaled:inner=0.25,outer=3@response-zca@pytorch    schemes on schemes
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tinydiv import WhenUsed
from tinydiv.errors import UsageError, unknown
from tinydiv.initializers.classic import BASES, Draw
from tinydiv.initializers.scheme import Scheme
from tinydiv.settings import convert, parse_spec

SCHEMES: Mapping[str, type[Scheme]] = WhenUsed(
    "tinydiv.initializers",
    {
        "decorrelated": "decorrelated.Decorrelated",
        "response-zca": "by_responses.ResponseZCA",
        "pca-white": "by_responses.PCAWhite",
        "centring": "by_responses.Centring",
        "lsuv": "by_responses.LSUV",
        "orthogonal": "by_weights.Orthogonal",
        "lowdin": "by_weights.Lowdin",
        "cosine-descent": "by_weights.CosineDescent",
        "simplex": "by_weights.Simplex",
        "greedy": "by_responses.Greedy",
        "preferential-attachment": "rewiring.PreferentialAttachment",
        "adversarial": "by_weights.Adversarial",
        "scaled": "scaled.Scaled",
    },
)
"""The class of each scheme by its name; its file is imported at its first use."""


@dataclass(frozen=True)
class Start:
    """A spec taken apart: the base draw, and the schemes that change it, innermost first."""

    base: Draw
    schemes: tuple[Scheme, ...]
    bare: bool
    """Whether the innermost scheme has its default base, and may therefore choose its scale."""

    @property
    def needs_data(self) -> bool:
        """Whether a probe batch of inputs is needed."""
        return any(scheme.needs_data for scheme in self.schemes)


def parse(spec: str) -> Start:
    """Take a spec apart. Raises UsageError for unknown names, settings and values."""
    parts = [part.strip() for part in spec.split("@")]
    schemes: list[Scheme] = []
    for part in parts:
        name = part.partition(":")[0]
        if name in BASES and part == parts[-1]:
            if ":" in part:
                raise UsageError(f"in {spec!r}, the base draw {name!r} has no settings")
            return Start(BASES[name], tuple(reversed(schemes)), bare=False)
        schemes.append(scheme(part, spec, last=part == parts[-1]))
    while schemes[-1].base not in BASES:
        schemes.append(SCHEMES[schemes[-1].base]())
    return Start(BASES[schemes[-1].base], tuple(reversed(schemes)), bare=True)


def scheme(part: str, spec: str, last: bool) -> Scheme:
    """One scheme with its settings, from name:key=value,...

    Raises UsageError for an unknown name or setting.
    """
    name = part.partition(":")[0]
    if name not in SCHEMES:
        where = "" if part == spec else f" (in {spec!r})"
        if name in BASES and not last:
            raise UsageError(f"in {spec!r}, {name!r} is a base draw: it can only stand last")
        raise unknown("initializer", name, (*SCHEMES, *BASES), where)
    cls = SCHEMES[name]
    return cls(**convert(name, cls, parse_spec(part).settings))


def needs_data(spec: str) -> bool:
    """Whether this start needs a probe batch of inputs. Raises UsageError as parse does."""
    return parse(spec).needs_data
