"""A training run: its settings, how it is built, its folder and its checkpoints."""
