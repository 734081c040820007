"""Schedules: plain numbers from plain numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinydiv import schedules
from tinydiv.errors import UsageError
from tinydiv.schedules import Schedule, parse

TOTAL = 20


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("constant", {0: 1.0, 7: 1.0, 19: 1.0, 20: 1.0, 30: 1.0}),
        ("linear", {0: 1.0, 5: 0.75, 10: 0.5, 19: 0.05, 20: 0.0, 30: 0.0}),
        ("cosine", {0: 1.0, 5: (1 + math.sqrt(0.5)) / 2, 10: 0.5, 20: 0.0, 30: 0.0}),
        ("constant:warmup=4", {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0, 19: 1.0}),
        ("linear:warmup=10", {0: 0.1, 9: 1.0, 10: 1.0, 15: 0.5, 20: 0.0}),
        ("cosine:warmup=10", {4: 0.5, 10: 1.0, 15: 0.5, 20: 0.0}),
        ("linear:warmup=0", {0: 1.0, 10: 0.5}),
    ],
)
def test_factors_over_twenty_steps(text, factors):
    schedule = parse(text)
    found = {t: schedule(t, TOTAL) for t in factors}
    assert found == pytest.approx(factors, abs=1e-12)


@given(
    st.sampled_from(list(schedules.SHAPES)),
    st.integers(0, 30),
    st.integers(0, 200),
    st.integers(0, 100),
)
def test_a_factor_lies_between_0_and_1_and_falls_after_the_warm_up(shape, warmup, step, total):
    schedule = Schedule(shape, warmup)
    now, later = schedule(step, total), schedule(step + 1, total)
    assert 0.0 <= now <= 1.0
    assert later > now if step + 1 < warmup else later <= now or step + 1 == warmup


@pytest.mark.parametrize("text", ["constant", "cosine", "linear:warmup=100"])
def test_a_schedule_prints_as_what_parses_to_it(text):
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)
    assert parse(parse(text)) == parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cosin", "no schedule called 'cosin': did you mean 'cosine'"),
        ("", "no schedule called ''"),
        ("linear:", "SHAPE:warmup=STEPS with a whole number of steps, got 'linear:'"),
        ("linear:warmup", "got 'linear:warmup'"),
        ("linear:warmup=", "got 'linear:warmup='"),
        ("linear:warmup=1.5", "got 'linear:warmup=1.5'"),
        ("linear:warmup=-3", "got 'linear:warmup=-3'"),
        ("linear:start=3", "got 'linear:start=3'"),
    ],
)
def test_anything_else_is_one_sentence(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(text)
