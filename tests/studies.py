"""What the tests of studies share: a study that takes a second, and ways to run and to compare it."""

from pathlib import Path

import helpers

from tinydiv.study import Arm, Measure, Study, Tuning, run_study

TABLES = ("curves.csv", "runs.csv", "comparisons.csv", "tuning.csv")

SMALL = {"data": "moons:n_train=256,n_test=200", "hidden": [6], "epochs": 3, "batch_size": 32}
SMALL |= {"init": "he-normal", "optimizer": "sgd", "lr": 0.1}

TOML = """
title = "Moons"
seeds = 6
regimes = ["default", "tuned"]
primary = "early"
[train]
data = "moons:n_train=256,n_test=200"
hidden = [6]
init = "he-normal"
optimizer = "sgd"
lr = 0.1
batch_size = 32
epochs = 3
[measure]
steps = [5]
metrics = ["correlation"]
[tuning]
rates = [0.3, 1, 3]
strengths = [0.1, 1]
seeds = 1
validation = 64
[[arms]]
name = "plain"
[[arms]]
name = "adam"
optimizer = "adam"
lr = 0.01
[[arms]]
name = "decov"
technique = ["decov:strength={strength}"]
strength = 0.5
[[arms]]
name = "batch norm"
technique = ["batch-norm"]
[quick]
seeds = 2
regimes = ["default"]
arms = ["plain", "adam"]
[quick.train]
epochs = 2
"""


def small_study(arms=None, seeds=6, measure=None, **settings):
    """Networks 2-6-2 on moons: a hundredth of a second each."""
    arms = arms or [
        Arm("plain"),
        Arm("adam", {"optimizer": "adam", "lr": 0.01}),
        Arm("decov", {"technique": ["decov:strength={strength}"], "strength": 0.5}),
    ]
    settings.setdefault("train", SMALL)
    measure = measure or Measure(steps=(5,), metrics=("correlation",))
    return Study("small", arms, seeds=seeds, measure=measure, **settings)


def tuned_study(**settings):
    """The same with a tuned regime."""
    tuning = Tuning(rates=(0.3, 1.0, 3.0), strengths=(0.1, 1.0), seeds=1, validation=64)
    return small_study(regimes=("default", "tuned"), tuning=tuning, **settings)


def run(study, out, executor="serial", **how):
    """Run in this process by default, quietly and without figures."""
    how = {"show": False, "figures": False, **how}
    return run_study(study, out, executor=executor, **how)


def without_times(text):
    """The lines of a CSV file, without times."""
    lines = [line.split(",") for line in text.splitlines()]
    timed = {i for i, name in enumerate(lines[0]) if name == "seconds_to_target"}
    return [
        [cell for i, cell in enumerate(line) if i not in timed]
        for line in lines
        if "seconds_to_target" not in line or line is lines[0]
    ]


def assert_same_tables(one, other):
    """Both folders hold the same numbers, to the last bit, but for times."""
    for name in TABLES:
        ours, theirs = ((Path(p) / name).read_text() for p in (one, other))
        assert without_times(ours) == without_times(theirs), name
        assert name == "tuning.csv" or len(ours.splitlines()) > 5, name


def environment():
    """A user's environment in which warnings are errors."""
    # matplotlib 3.9 calls newer packages by names that they call deprecated
    old = (
        f"ignore::DeprecationWarning:matplotlib.{m}" for m in ("_mathtext", "_fontconfig_pattern")
    )
    return helpers.environment(PYTHONWARNINGS=",".join(["error", *old]))


def command(*words, cwd):
    """python -m tinydiv.study WORDS, waited for."""
    return helpers.python("-m", "tinydiv.study", *words, cwd=cwd, env=environment())
