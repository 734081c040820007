"""python -m tinydiv.grow: what growing networks gain, compared with controls (Radhakrishnan et al.,
2025)."""
