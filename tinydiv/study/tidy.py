"""Tidy CSV tables of a study, for programs: one row per thing, one column per number, nothing rounded.

    curves.csv        one row per network and moment: every measured number, nothing averaged
    runs.csv          one row per network: its rate and strength, every readout, where it diverged
    comparisons.csv   one row per arm and readout: difference, interval, p, p after Holm, detectable effect
    tuning.csv        one row per candidate: its score on the tuning seeds, and whether it was chosen
    costs.csv         one row per arm: counted work and measured time per training step

A missing number is an empty cell; so are interval and p of seconds_to_target, which is not tested. Only
costs.csv and seconds_to_target hold times; all other numbers are the same on every machine.
"""

import math
from collections.abc import Iterator

from tinydiv.files.table import Row
from tinydiv.study.comparing import compare_all
from tinydiv.study.cost import start_key
from tinydiv.study.plan import Trial
from tinydiv.study.results import Cell, Results
from tinydiv.study.store import Curve

TRIAL_COLUMNS = ("setting", "regime", "arm", "seed")


def each_trial(cell: Cell, results: Results) -> Iterator[tuple[dict[str, object], Trial, Curve]]:
    """Every finished network of a cell, with its first columns."""
    for trial, curve in zip(results.trials(cell) or [], results.found(cell), strict=False):
        if curve is not None:
            first = (cell.setting, cell.regime, cell.arm, trial.seed)
            yield dict(zip(TRIAL_COLUMNS, first, strict=True)), trial, curve


def curve_rows(results: Results) -> Iterator[Row]:
    """One row per network and moment."""
    for cell in results.cells:
        for first, _, curve in each_trial(cell, results):
            for m, (step, epoch) in enumerate(zip(curve.step, curve.epoch, strict=True)):
                yield {
                    **first,
                    "step": int(step),
                    "epoch": int(epoch) if epoch >= 0 else None,
                    **{name: float(values[m]) for name, values in curve.values.items()},
                }


def trial_rows(results: Results) -> Iterator[Row]:
    """One row per network."""
    for cell in results.cells:
        readouts = results.readouts(cell.setting)
        here = results.circumstances(cell)
        for first, trial, curve in each_trial(cell, results):
            yield {
                **first,
                "init": trial.training.init,
                "lr": trial.training.lr,
                "strength": trial.training.strength,
                "diverged_step": curve.diverged_step if curve.diverged else None,
                "diverged_layer": curve.diverged_layer if curve.diverged else None,
                **{r.name: r.read(curve, here) for r in readouts},
            }


def comparison_rows(results: Results) -> Iterator[Row]:
    """One row per setting, regime, readout and arm."""
    for setting, regime in results.tables:
        for readout in results.readouts(setting):
            for one in compare_all(results, setting, regime, readout):
                p = one.paired
                tested = not readout.timed
                yield {
                    "setting": setting,
                    "regime": regime,
                    "readout": readout.name,
                    "arm": p.arm,
                    "against": p.base,
                    "control": results.arm(setting, p.arm).control,
                    "pairs": p.n,
                    "missing": one.missing,
                    "mean": p.arm_mean,
                    "mean_against": p.base_mean,
                    "difference": p.difference,
                    "low": p.interval.low if tested else None,
                    "high": p.interval.high if tested else None,
                    "relative": p.relative,
                    "p": p.p if tested else None,
                    "p_holm": p.p_holm if tested else None,
                    "detectable": one.detectable if tested else None,
                }


def tuning_rows(results: Results) -> Iterator[Row]:
    """One row per candidate that was tried."""
    for setting, arm in results.tuning:
        choice = results.choice(setting, arm)
        if choice is None:
            continue
        for candidate, score in choice.scores.items():
            yield {
                "setting": setting,
                "arm": arm,
                "lr": candidate.lr,
                "strength": candidate.strength,
                "seeds": choice.seeds,
                "score": score if math.isfinite(score) else None,
                "diverged": not math.isfinite(score),
                "chosen": candidate == choice.chosen,
            }


def cost_rows(results: Results) -> Iterator[Row]:
    """One row per setting, regime and arm."""
    for cell in results.cells:
        trials = results.trials(cell)
        if not trials:
            continue
        cost = results.costs.get(trials[0].kind, {})
        yield {
            "setting": cell.setting,
            "regime": cell.regime,
            "arm": cell.arm,
            "product_flops": cost.get("product_flops"),
            "other_flops": cost.get("other_flops"),
            "bytes": cost.get("bytes"),
            "array_calls": cost.get("calls"),
            "step_seconds": results.seconds_per_step(cell),
            "start_seconds": results.costs.get(start_key(trials[0]), {}).get("start_seconds"),
            "joules_per_step": results.joules_per_step(cell),
        }
