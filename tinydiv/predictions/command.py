"""How did the neurons' diversity affect what a trained network predicts? python -m tinydiv.predictions

    from tinydiv.predictions import analyse
    effects = analyse("runs/20261121-143015-3f2a")     # of a run folder
    print(in_words(effects))

effects.py computes the numbers; this file describes them in words, and effects_picture.py draws them.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tinydiv.command import cli
from tinydiv.errors import RunError, UsageError
from tinydiv.files import technique_files
from tinydiv.settings import rounded

if TYPE_CHECKING:  # what is slow to import is imported where it is used, so that --help is quick
    from tinydiv.predictions.effects import Effects
    from tinydiv.stats import Interval

PROG = "tinydiv.predictions"
PICTURE = "predictions.png"
METRIC = "correlation"
"""The measure of diversity that text and picture compare with test accuracy."""

METRIC_HELP = (
    f"the measure to compare with accuracy: correlation, effective_rank, ... (default: {METRIC})"
)

ALLOW_CODE = "run the files of your own layers that the model names, if they have not changed"

EXAMPLES = """\
examples:
  python -m tinydiv.train --replicas 16 --out runs/first          sixteen networks
  python -m tinydiv.predictions runs/first                        words, and a picture in the folder
  python -m tinydiv.predictions runs/first --metric effective_rank
  python -m tinydiv.predictions runs/first --json                 every number
"""


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Analyse a run folder, print the result in words or as JSON, and write a picture."""
    flags = cli.Parser(PROG, "How did diversity affect what the networks predict?", EXAMPLES)
    flags.add_argument("run_dir", metavar="RUN_DIR", help="a finished run of tinydiv.train")
    flags.add_argument("--metric", default=METRIC, metavar="NAME", help=METRIC_HELP)
    flags.add_argument(technique_files.FLAG, action="store_true", help=ALLOW_CODE)
    flags.add_argument("--no-plot", action="store_true", help="leave out the picture")
    flags.add_argument("--json", action="store_true", help="print all numbers as one JSON object")
    options = flags.parse(argv)
    from tinydiv.backend import quiet
    from tinydiv.diversity import METRICS
    from tinydiv.errors import check_known

    check_known("metric", options.metric, METRICS)
    with quiet():  # finite weights may give sums that are not
        found = analyse(options.run_dir, options.allow_code)
    if not options.no_plot:
        from tinydiv.plots import save
        from tinydiv.predictions.effects_picture import predictions_picture

        save(predictions_picture(found, metric=options.metric), Path(options.run_dir) / PICTURE)
    cli.print_result(json.dumps(asdict(found)) if options.json else in_words(found, options.metric))


def analyse(run_dir: str | Path, allow_code: bool = False) -> "Effects":
    """The effects of diversity in the networks of a run folder; those that diverged are left out.

    allow_code: whether the code of own layers may be run, see load_model.
    Raises UsageError if there is no finished run, RunError if a file is damaged or all diverged.
    """
    from tinydiv.files.model import load_model
    from tinydiv.loop import DeviceData
    from tinydiv.predictions.effects import effects
    from tinydiv.runs import folder as run_folder
    from tinydiv.runs.build import load_data

    folder = Path(run_dir)
    run_folder.settings_file(folder)  # UsageError where the folder holds no run
    net = load_model(folder, allow_code)
    config, about = run_folder.settings_of(folder)
    code = technique_files.paths(config.technique)
    files = {file: digest for file, digest in about["own_files"].items() if file not in code}
    technique_files.refuse_changes(files, f"the run in {folder}")
    healthy = networks_that_learned(folder / run_folder.METRICS, net.replicas or 1)
    if not healthy:
        raise RunError(f"every network of {folder} diverged: there is nothing to analyse")
    dataset = load_data(config.data, config.inputs)
    if dataset.regression:
        raise UsageError(f"{folder} learns numbers, and predictions are analysed for classes alone")
    data = DeviceData(dataset, net.dtype, config.validation, config.seed)
    return effects(net, data, healthy, loss=str(config.loss))


def networks_that_learned(table: Path, replicas: int) -> list[int]:
    """The networks with a test accuracy (or loss) in their last row; all networks if there is no table."""
    from tinydiv.files import read

    if not table.is_file():
        return list(range(replicas))
    with read.reading(table, "delete it: --resume writes it anew"):
        rows = read.csv_rows(table)
        score = "test_accuracy" if "test_accuracy" in rows[0] else "test_loss"
        last = {int(row["network"]): row[score] for row in rows}
        if sorted(last) != list(range(replicas)):
            raise ValueError(f"it should have rows of {replicas} networks")
        if any(number and not 0 <= float(number) < math.inf for number in last.values()):
            raise ValueError(f"a {score} is no number from 0 up")
    return [r for r in range(replicas) if last[r]]


# Words ---------------------------------------------------------------------------------------------


def in_words(found: "Effects", metric: str = METRIC) -> str:
    """One paragraph in plain words, made from the numbers."""
    sentences = [introduction(found), *about_ablation(found), about_ambiguity(found)]
    return " ".join([*sentences, about_bias(found), about_accuracy(found, metric)])


def mean(values: Sequence[float]) -> float:
    """The mean of one or more numbers."""
    return sum(values) / len(values)


def points(share: float) -> str:
    """A difference of accuracies: 0.0123 -> "1.2 points"."""
    return f"{100 * share:.1f} points"


def relation(interval: "Interval") -> str:
    """A rank correlation in words: the estimate and its interval."""
    between = f"{interval.low:+.2f} to {interval.high:+.2f}"
    return f"rank correlation {interval.estimate:+.2f}, 95 % interval {between}"


def introduction(found: "Effects") -> str:
    """The sentence on test accuracy and the number of neurons."""
    right, H = found.accuracy, len(found.ablation.drop[0])
    who = "The network is" if len(right) == 1 else f"The {len(right)} networks are on average"
    where = f"{H} neurons" if H > 1 else "one neuron"
    where += " in the last hidden layer"
    return f"{who} right on {mean(right):.1%} of the test samples, with {where}."


def about_ablation(found: "Effects") -> list[str]:
    """Sentences on the accuracy lost without a neuron, dead neurons, and the relation to correlation."""
    one = found.ablation
    drops = [d for row in one.drop for d in row]
    which = "one of its neurons" if len(one.drop[0]) > 1 else "its neuron"
    sentence = [
        f"Without {which} a network loses {points(mean(drops))} of accuracy on average, "
        f"between {points(min(drops))} and {points(max(drops))}."
    ]
    dead = [not on for row in one.alive for on in row]
    if any(dead):
        sentence.append(
            f"{sum(dead)} of {len(dead)} neurons are dead: without them nothing changes."
        )
    if one.relation is None:
        return sentence
    numbers = relation(one.relation)
    if 0 in one.relation:
        end = (
            f"What is lost without a neuron shows no clear relation to its largest correlation with "
            f"another one ({numbers})."
        )
    elif one.relation.estimate < 0:
        end = f"The more a neuron resembles another, the less is lost without it ({numbers}): redundancy."
    else:
        end = f"Without neurons that resemble another more is lost, not less ({numbers})."
    return [*sentence, end]


def about_ambiguity(found: "Effects") -> str:
    """The sentence on the squared errors of neurons and network, and how much of them cancels."""
    one = found.ambiguity
    if len(found.ablation.drop[0]) == 1:
        return (
            f"Read as an ensemble, one neuron is the only member: its squared error, "
            f"{rounded(mean(one.error))}, is the network's, and no other one disagrees with it."
        )
    cancelled = mean(one.ambiguity) / mean(one.members)
    caution = ""
    if found.loss in ("cross-entropy", "binary-cross-entropy"):
        caution = (
            f" ({found.loss.capitalize()} does not teach outputs to be 0 or 1, so read the proportions "
            "of these errors, not their size.)"
        )
    return (
        f"Read as an ensemble, a single neuron's squared error is {rounded(mean(one.members))} on average "
        f"and the network's {rounded(mean(one.error))}; the difference, {rounded(mean(one.ambiguity))}, is "
        f"the neurons' disagreement: {cancelled:.1%} of their errors cancel out.{caution}"
    )


def about_bias(found: "Effects") -> str:
    """The sentence on bias, variance and covariance over starts."""
    one = found.bias_variance
    if one is None:
        return "With one network there is no variance over starts: train several."
    if one.H == 1:
        return (
            f"Over starts, the squared error {rounded(one.error)} is {rounded(one.bias)} bias and "
            f"{rounded(one.variance)} variance: there is no second neuron to make up for the first."
        )
    tied = (1 - 1 / one.H) * one.covariance
    share = one.variance / one.H
    sentence = (
        f"Over starts, the squared error {rounded(one.error)} is {rounded(one.bias)} bias, "
        f"{rounded(share)} from the neurons' own variance and {rounded(tied, sign='+')} from their "
        "covariance:"
    )
    if tied < 0:
        return f"{sentence} they make up for each other's deviations."
    return f"{sentence} they deviate together more than apart."


def about_accuracy(found: "Effects", metric: str) -> str:
    """The sentence on how one metric of diversity relates to test accuracy over networks."""
    name = metric.replace("_", " ")
    if metric not in found.relations:
        few = len(found.accuracy) < 4
        why = "fewer than four networks" if few else "numbers that do not vary"
        return f"Whether {name} goes with accuracy cannot be judged from {why}."
    one = found.relations[metric]
    if 0 in one:
        return f"Over networks, {name} and test accuracy show no clear relation ({relation(one)})."
    more = "higher" if one.estimate > 0 else "lower"
    return f"Networks with more {name} have {more} test accuracy ({relation(one)})."
