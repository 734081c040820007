"""Mutation tests: spoil every gradient in every small way, and see that a check or a test fails.

    python -m tests.mutation                        all mutants
    python -m tests.mutation decov MLP.backward     those of some subjects or functions
    python -m tests.mutation --show decov           their names, nothing is run
    python -m tests.mutation --sample 50 --seed 3   some at random

targets.py runs the checker and records the functions that compute gradients; edits.py changes their
syntax trees; noticing.py runs the checker on each change, and the tests where the checker finds nothing.
A change that neither finds is listed by name in survivors.txt, and proven to compute the same
(test_mutation.py).
"""
