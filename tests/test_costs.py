"""What techniques cost beside a plain step is counted while they run (techniques/cost.py)."""

import json

import pytest

from tinydiv.command import listing
from tinydiv.gallery import command as gallery
from tinydiv.loop import PROBE_ROWS
from tinydiv.techniques import TECHNIQUES
from tinydiv.techniques.cost import BATCH, PROBE, SIZES, cost_text, flops_of_steps, relative_cost

N, (D, H, K) = BATCH, SIZES
PLAIN = 6 * N * (D * H + H * K) - 2 * N * D * H
"""Products of a plain step: three per layer, less the gradient that the inputs do not need."""


def test_a_plain_step_is_its_products_and_one_pass_over_the_rest():
    (_, plain) = flops_of_steps((), 1, 1, 1)
    assert plain == pytest.approx(PLAIN, rel=0.02)
    assert plain > PLAIN


def products(spec):
    """The products of a technique by hand, as a share of a plain step's."""
    words = {
        "decov": 4 * N * H**2,
        "pearson": 4 * N * H**2,
        "cosine": 4 * D * H**2,
        "zca-norm": 10 * N * H**2 + 19 * H**3,
        "cayley": 16 * D * H**2,
        "local-alignment": 2 * N * H * (D + K),
        "decorrelated-inputs": 2 * N * D**2 + 4 * N * D**2 / 4,
        "redo": (2 * PROBE * (D * H + H * K)) / 100,
    }
    return words[spec] / PLAIN


@pytest.mark.parametrize(
    ("spec", "rest"),
    [
        ("decov", 1.2),
        ("pearson", 1.4),
        ("cosine", 1.2),
        ("zca-norm", 1.4),
        ("cayley", 1.4),
        ("local-alignment", 1.1),
        ("decorrelated-inputs", 1.1),
        ("redo", 1.5),
    ],
)
def test_what_is_counted_is_the_products_by_hand_and_a_little_more(spec, rest):
    assert 0.99 < relative_cost(spec) / products(spec) < rest


def test_every_technique_has_a_number():
    text = listing.as_text(listing.entries("techniques"))
    assert "flops are those beside a plain step of 784-16-10 in batches of 64" in text
    assert text.count("% flops]") == len(TECHNIQUES) == len(listing.techniques())
    for entry in listing.techniques():
        assert 0 < entry["relative_cost"] < 100, entry["name"]
        json.dumps(entry["relative_cost"])


def test_what_is_done_every_k_steps_counts_by_its_kth_part():
    each = relative_cost("redo:every=1")
    for k in (2, 10, 100):
        assert relative_cost(f"redo:every={k}") == pytest.approx(each / k, rel=0.02)
    rules = [relative_cost(f"decorrelated-inputs:k={k}") for k in (1, 2, 4)]
    assert rules[0] - rules[1] == pytest.approx(2 * (rules[1] - rules[2]))


def test_a_readers_own_technique_is_counted_as_any_other(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from tinydiv.techniques import ActivationPenalty\n"
        "from tinydiv.techniques.decov import DeCov\n"
        "class Mine(ActivationPenalty):\n"
        "    def __call__(self, A, step):\n"
        "        return DeCov()(A, step)\n"
    )
    assert cost_text(f"{file}:Mine") == cost_text("decov")


def test_the_gallery_counts_with_the_trigger_of_the_spec():
    config = gallery.GalleryConfig(technique=("redo", "redo:every=1"))
    (_, seldom, often), _ = gallery.gallery(config)
    assert [seldom.cost, often.cost] == [cost_text("redo"), cost_text("redo:every=1")]
    assert seldom.cost != often.cost


def test_the_probe_set_is_as_large_as_costs_take_it_for():
    assert PROBE == PROBE_ROWS


def test_dropout_of_nothing_costs_nothing():
    assert relative_cost("dropout:p=0") == 0
