"""Experiments with growing networks, computed for all trials at once."""
