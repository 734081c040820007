"""Which techniques exclude each other, and why: asking for both is one clear sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinydiv.errors import UsageError
from tinydiv.techniques.base import Intervention

if TYPE_CHECKING:
    from tinydiv.techniques.framework import Placed

CONFLICTS: dict[frozenset[str], str] = {}
"""Pairs by name, with the reason. Two owners of one update need no entry: that is checked below."""


def refuse_conflicts(placed: list[Placed], layers_at: list[tuple[int, ...]]) -> None:
    """Raise UsageError for the first pair that cannot work together."""
    owner: dict[str, str] = {}
    for p, layers in zip(placed, layers_at, strict=True):
        if not isinstance(p.technique, Intervention):
            continue
        for block in (block for layer in layers for block in p.technique.owns(layer)):
            if block in owner:
                raise UsageError(
                    f"{owner[block]} and {p.label} both own the update of {block}: choose one"
                )
            owner[block] = p.label
    for i, first in enumerate(placed):
        for second in placed[i + 1 :]:
            reason = CONFLICTS.get(frozenset((first.label, second.label)))
            if reason:
                raise UsageError(f"{first.label} and {second.label} exclude each other: {reason}")
