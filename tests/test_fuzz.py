"""A sample of `python -m tests.fuzz`, which tries more than 100,000 inputs."""

import pytest
from fuzz import KINDS, piece


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoiled_input_is_read_or_refused_in_one_sentence(kind, monkeypatch):
    monkeypatch.setattr("fuzz.MEMORY", None)  # the limit of a process that other tests run in
    assert piece(kind, 10**6, 30) == (kind, 30, [])
