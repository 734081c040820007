"""python -m tinydiv.grow: what growing networks buy, beside controls (Radhakrishnan et al., 2025)."""
