"""python -m tinydiv.starts: what each start does to weights, to responses, and to the first 200 steps."""
