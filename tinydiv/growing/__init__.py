"""Growing networks beside the techniques: whole experiments, computed for all trials at once."""
