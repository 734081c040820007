"""A penalty's weight under the name that its literature uses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StrengthAlias:
    """strength = offset + sign * value: negative correlation's lambda is 1 - strength."""

    key: str
    sign: float
    offset: float

    def to_strength(self, value: float) -> float:
        """The strength that belongs to a value of the alias."""
        return self.offset + self.sign * value
