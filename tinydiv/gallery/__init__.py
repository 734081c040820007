"""python -m tinydiv.gallery: the same small network under each technique of a family, side by side."""
