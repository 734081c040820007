"""The planned tests of the studies paper and atlas: what helps a small network in its first epochs?

    python results/early.py runs/paper runs/atlas   from the folders of the studies, whose runs are kept
    python results/early.py                         from what lies in results/paper and results/atlas

Every arm is compared with its partner over all seeds: sign-flip tests, with Holm's correction over the arms
of one setting, regime and readout. Its verdict follows the rules of PLAN.md:

    supported   shown better in three settings or more, and shown worse in none
    refuted     the interval excludes a gain of SMALL or more in three settings or more
    both        supported and refuted: gains that are shown, most of them smaller than SMALL
    mixed       anything between
    none        in a setting more than a tenth of the pairs are lost, since a network diverged

Writes verdict.md into the folder of each study; map.md and map.png, where both stand side by side, into
results/atlas; and the table of techniques in README.md. From a folder of a study it also keeps runs.csv.gz
(one row per network) and curves.csv.gz (one row per network and moment), both rounded to six digits, and
tuning.csv, costs.csv and study.json as they are.
"""

import csv
import functools
import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from tinydiv import plots, stats
from tinydiv.command.cli import run
from tinydiv.errors import UsageError
from tinydiv.plots.style import new_figure, page, save
from tinydiv.study import load_study
from tinydiv.study.comparing import detectable, p_values_of_groups
from tinydiv.techniques.registry import TECHNIQUES

HERE = Path(__file__).parent
PLANNED = {"paper": 50, "atlas": 30}
"""The studies, with the seeds of the plan."""
WIDTHS = "widths"
"""The study of the most telling arms in other networks; widths.py makes its page."""
REGIMES = ("default", "tuned")
NAMES = {
    "fashion-mnist, sgd": "Fashion SGD",
    "fashion-mnist, adam": "Fashion Adam",
    "mnist, sgd": "MNIST SGD",
    "mnist, adam": "MNIST Adam",
}
"""The settings."""
ENOUGH = 3
"""Settings that a verdict needs."""
SMALL = 0.005
"""A gain below this is refuted as a gain worth having."""
DIVERGED = 0.1
"""With a larger share of lost pairs in a setting an arm gets no verdict."""
BASELINES = ("centred inputs", "standardised inputs", "momentum", "adam", "batch norm", "dropout")
CHEAP = ("plain", "standardised inputs", "momentum", "adam", "batch norm")
"""What a technique that is supported has to beat, once all rates are tuned."""
NO_TECHNIQUES = ("decov, lambda 0", "toeplitz")
"""A placebo, and one that makes neurons redundant on purpose."""
METRICS = {"correlation": -1, "weight_cosine": -1, "effective_rank": 1, "dead_fraction": -1}
"""Measures of diversity, with the sign of their relation to accuracy if diversity is good."""
MOMENTS = ("step50", "step100", "step200", "epoch1", "final")
LEFT_OUT = {"success", "reached", "seconds_to_target", "plateau"}
"""Columns that are not kept: seconds are not tested; the others are for tasks that can be solved."""
MOST, OF_ONE_FAMILY = 10, 3
"""The most telling arms: so many, with so many of one family."""
IN_README = 2
"""Techniques with the largest gains, and as many with the largest losses, in the README's table."""
LIMIT = 3.0
"""Points from which a cell of the map has its full colour."""


# The runs ------------------------------------------------------------------------------------------


def keep(folder, studies):
    """Keep the results of one of the studies beside this file. Raises UsageError for another one."""
    name = json.loads((folder / "study.json").read_text("utf-8"))["study"]["name"]
    if name not in studies:
        raise UsageError(f"{folder} holds {name}; allowed: {', '.join(studies)}")
    kept = {}
    for table in ("runs.csv", "curves.csv"):
        with (folder / table).open(newline="") as file:
            rows = [
                {key: rounded(value) for key, value in row.items() if key not in LEFT_OUT}
                for row in csv.DictReader(file)
            ]
        text = io.StringIO()
        out = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
        kept[f"{table}.gz"] = gzip.compress(text.getvalue().encode(), mtime=0)
    (HERE / name).mkdir(exist_ok=True)
    for table in ("tuning.csv", "costs.csv", "study.json"):
        if (folder / table).read_text("utf-8").strip():  # nothing is tuned in widths
            shutil.copy(folder / table, HERE / name / table)
    for table, content in kept.items():
        (HERE / name / table).write_bytes(content)


def rounded(text):
    """A number with six digits, which float32 has; a word and a whole number stay."""
    try:
        return text if text.isdigit() else f"{float(text):.6g}"
    except ValueError:
        return text


def kept_studies():
    """The studies whose runs are kept."""
    return [name for name in PLANNED if (HERE / name / "runs.csv.gz").exists()]


@functools.cache
def runs(name):
    """{(regime, setting, arm): {seed: row}} of one study.

    name: paper, atlas, or "widths, SIZE" for the networks of one size. With two hidden layers, a measure of
    diversity is the mean of both.
    """
    study, _, size = name.partition(", ")
    found = {}
    with gzip.open(HERE / study / "runs.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            setting = row["setting"].removeprefix(f"{size}, ")
            if setting in NAMES:
                found.setdefault((row["regime"], setting, row["arm"]), {})[int(row["seed"])] = (
                    row | mean_of_layers(row)
                )
    return found


def mean_of_layers(row):
    """{"metric@moment": number} of a row whose network has two hidden layers."""
    found = {}
    for metric in METRICS:
        for moment in MOMENTS:
            both = [row.get(f"{metric}.{layer}@{moment}") for layer in (1, 2)]
            if all(both):
                found[f"{metric}@{moment}"] = str(np.mean([float(one) for one in both]))
    return found


@functools.cache
def study_of(name):
    """The study of one name; see runs."""
    study = name.partition(", ")[0]
    own = HERE / study / f"{study}.toml"
    return load_study(str(own) if own.exists() else study)


@functools.cache
def arm_of(name, arm):
    """An arm as its study defines it."""
    return study_of(name).arm(arm)


@functools.cache
def arms_of(name):
    """{arm: partner} of one study without its controls, in the study's order."""
    arms = [arm for arm in study_of(name).arms if not arm.control]
    return {arm.name: arm.against or "plain" for arm in arms if arm.name != "plain"}


def kind(name, arm):
    """What an arm is: a cheap baseline, a scale, a start or a technique."""
    if arm in BASELINES:
        return "baseline"
    if arm.startswith("he x"):
        return "scale"
    return "technique" if arm_of(name, arm).changes.get("technique") else "start"


def family(name, arm):
    """A technique's family, or the kind of another arm."""
    if kind(name, arm) != "technique":
        return kind(name, arm)
    return TECHNIQUES[arm_of(name, arm).changes["technique"][0].split(":")[0]].family


def settings_of(name, arm, regime="default"):
    """The settings in which an arm is trained."""
    return [one for one in NAMES if (regime, one, arm) in runs(name)]


def values(name, regime, setting, arm, readout):
    """{seed: number} of one arm; networks that diverged have none."""
    rows = runs(name).get((regime, setting, arm), {})
    return {seed: float(row[readout]) for seed, row in sorted(rows.items()) if row[readout]}


def matched(ours, theirs):
    """(a, b): the numbers of the seeds that both have."""
    seeds = sorted(set(ours) & set(theirs))
    return tuple(np.array([one[seed] for seed in seeds]) for one in (ours, theirs))


def pairs(name, regime, setting, arm, readout):
    """(a, b): the arm's numbers and its partner's, seed by seed."""
    return matched(
        *(values(name, regime, setting, one, readout) for one in (arm, arms_of(name)[arm]))
    )


def seeds_of(name, regime):
    """How many seeds every arm of a regime has at least; 0 without any."""
    return min((len(rows) for place, rows in runs(name).items() if place[0] == regime), default=0)


def lost(name, regime, setting, arm):
    """The share of seeds in which the arm or its partner diverged, of those that are finished in both."""
    there = [set(runs(name).get((regime, setting, one), {})) for one in (arm, arms_of(name)[arm])]
    finished = len(set.intersection(*there))
    return 1 - len(pairs(name, regime, setting, arm, "final")[0]) / max(finished, 1)


# Comparisons ---------------------------------------------------------------------------------------


@functools.cache
def compared(name, regime, setting, readout):
    """{arm: PairedComparison} of one table, Holm over its arms; arms without a pair are left out."""
    found = []
    for arm, partner in arms_of(name).items():
        ours, theirs = pairs(name, regime, setting, arm, readout)
        if len(ours):
            found.append(stats.compare(ours, theirs, names=(arm, partner), seed=0))
    return {one.arm: one for one in stats.adjust(found)} if found else {}


@functools.cache
def over_settings(name, regime, arm, readout, data=""):
    """The arm against its partner, each seed's difference averaged over the settings; not corrected.

    data: of one data set only. None for an arm that gets no verdict.
    """
    places = [one for one in settings_of(name, arm, regime) if one.startswith(data)]
    if not places or any(lost(name, regime, one, arm) > DIVERGED for one in places):
        return None
    apart = []
    for setting in places:
        ours, theirs = (
            values(name, regime, setting, one, readout) for one in (arm, arms_of(name)[arm])
        )
        apart.append({seed: ours[seed] - theirs[seed] for seed in set(ours) & set(theirs)})
    seeds = sorted(set.intersection(*map(set, apart)))
    mean = np.mean([[one[seed] for seed in seeds] for one in apart], axis=0)
    return stats.compare(mean, np.zeros_like(mean), names=(arm, arms_of(name)[arm]), seed=0)


def shown_ways(name, regime, arm, readout):
    """(settings in which the arm is shown above its partner, settings in which it is shown below)."""
    found = {one: compared(name, regime, one, readout).get(arm) for one in NAMES}
    shown = {one: test.difference for one, test in found.items() if test and test.shown}
    return [s for s, gain in shown.items() if gain > 0], [
        s for s, gain in shown.items() if gain < 0
    ]


def verdict(name, regime, arm):
    """The word of the plan's rules; see the head of this file."""
    places = settings_of(name, arm, regime)
    if not places or any(lost(name, regime, one, arm) > DIVERGED for one in places):
        return "none"
    better, worse = shown_ways(name, regime, arm, "early")
    highs = [compared(name, regime, one, "early")[arm].interval.high for one in places]
    supported = len(better) >= ENOUGH and not worse
    refuted = sum(high < SMALL for high in highs) >= ENOUGH
    word = {(True, True): "both", (True, False): "supported", (False, True): "refuted"}
    return word.get((supported, refuted), "mixed")


def is_supported(name, regime, arm):
    """Whether the plan's rule for support holds."""
    return verdict(name, regime, arm) in ("supported", "both")


def diverse(name, regime, arm, moment):
    """Whether accuracy is shown higher and correlation lower, at one moment, in three settings or more,
    and correlation is shown higher in no setting with a gain."""
    gains = set(shown_ways(name, regime, arm, moment)[0])
    rose, fell = map(set, shown_ways(name, regime, arm, f"correlation@{moment}"))
    return len(gains & fell) >= ENOUGH and not gains & rose


def helpers_in(name):
    """The techniques that are supported in at least one regime."""
    return [
        arm
        for arm in arms_of(name)
        if kind(name, arm) == "technique" and any(is_supported(name, r, arm) for r in REGIMES)
    ]


def against_cheap(name, setting):
    """Tuned: (the best cheap baseline of paper, {technique: comparison with it}), Holm over techniques.

    The best is that with the largest mean over the study's own seeds, so the control may win by chance.
    """
    seeds = set(runs(name)["tuned", setting, "plain"])
    found = {}
    for arm in CHEAP:
        here = values("paper", "tuned", setting, arm, "early")
        here = {seed: value for seed, value in here.items() if seed in seeds}
        if len(here) >= (1 - DIVERGED) * len(seeds):
            found[arm] = here
    best = max(found, key=lambda arm: np.mean(list(found[arm].values())))
    tests = []
    for arm in helpers_in(name):
        ours, theirs = matched(values(name, "tuned", setting, arm, "early"), found[best])
        if len(ours) >= (1 - DIVERGED) * len(seeds):
            tests.append(stats.compare(ours, theirs, names=(arm, best), seed=0))
    return best, {one.arm: one for one in stats.adjust(tests)} if tests else {}


# How the study was checked -------------------------------------------------------------------------


def controls(name):
    """(A/A p values, planted effects found, planted effects in all), as the study itself computes them.

    A/A: the base under other seeds; each group of five seeds is used in one setting, in turn.
    """
    p_values, found = [], []
    for turn, setting in enumerate(NAMES):
        other, plain = (values(name, REGIMES[0], setting, arm, "early") for arm in ("A/A", "plain"))
        seeds = sorted(runs(name)[REGIMES[0], setting, "plain"])
        # The arm's seeds are others: the n-th of one goes with the n-th of the other.
        others = sorted(runs(name)[REGIMES[0], setting, "A/A"])
        apart = np.array(
            [
                other.get(b, np.nan) - plain.get(a, np.nan)
                for a, b in zip(seeds, others, strict=True)
            ]
        )
        p_values += p_values_of_groups(apart, [setting, name], turn, len(NAMES))
        for regime in filter(functools.partial(seeds_of, name), REGIMES):
            ours, theirs = matched(
                *(
                    values(name, regime, setting, arm, "early")
                    for arm in ("one epoch ahead", "plain")
                )
            )
            gain = ours - theirs
            found.append(bool(gain.mean() > 0 and stats.sign_flip_test(gain) < 0.05))
    return p_values, sum(found), len(found)


def relations(name):
    """Over plain's seeds, default regime: {(setting, metric): (Spearman or None, p after Holm)}."""
    found, p_values = {}, []
    for setting in NAMES:
        final = values(name, "default", setting, "plain", "final")
        for metric in METRICS:
            x, y = matched(values(name, "default", setting, "plain", f"{metric}@final"), final)
            varies = len(x) >= stats.MIN_SEEDS and np.ptp(x) > 0 and np.ptp(y) > 0
            found[setting, metric] = stats.spearman(x, y) if varies else None
            p_values.append(permuted(x, y) if varies else 1.0)
    return dict(zip(found, zip(found.values(), stats.holm(p_values), strict=True), strict=True))


def joint_relations(name, draws=9_999):
    """Not planned: {metric: (mean rank correlation over the settings, p)}; one random order for all."""
    found = {}
    for metric in METRICS:
        sides = []
        for setting in NAMES:
            pair = (
                values(name, "default", setting, "plain", f"{metric}@final"),
                values(name, "default", setting, "plain", "final"),
            )
            x, y = (stats.relations.ranks(one) for one in matched(*pair))
            sides.append(((x - x.mean()) / (x.std() * len(x)), (y - y.mean()) / y.std()))
        if len({len(x) for x, _ in sides}) > 1 or not np.isfinite([x for x, _ in sides]).all():
            continue  # a network diverged, or a measure does not vary
        seen = np.mean([x @ y for x, y in sides])
        rng = np.random.default_rng(0)
        orders = rng.permuted(np.tile(np.arange(len(sides[0][0])), (draws, 1)), axis=1)
        null = np.mean([y[orders] @ x for x, y in sides], axis=0)
        reached = np.count_nonzero(np.abs(null) >= abs(seen) - 1e-12)
        found[metric] = float(seen), (1 + reached) / (1 + draws)
    return found


def permuted(x, y, draws=9_999):
    """p of a rank correlation: how often a random order of y reaches one as large."""
    a, b = (ranks - ranks.mean() for ranks in map(stats.relations.ranks, (x, y)))
    orders = np.random.default_rng(0).permuted(np.tile(b, (draws, 1)), axis=1)
    reached = np.count_nonzero(np.abs(orders @ a) >= abs(a @ b) - 1e-9)
    return (1 + reached) / (1 + draws)


# Words and tables ----------------------------------------------------------------------------------


def cell(one, scale=100, digits=2, star=True):
    """A difference with its interval; a star where it is shown."""
    if one is None:
        return "no verdict"
    middle, low, high = (
        round(scale * value, digits) + 0  # + 0: never -0
        for value in (one.difference, one.interval.low, one.interval.high)
    )
    mark = " \\*" if star and one.shown else ""
    return f"{middle:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{mark}"


def short(one, scale, digits=2):
    """A difference without its interval."""
    return "" if one is None else f"{round(scale * one.difference, digits) + 0:+.{digits}f}"


def table(head, rows):
    """A Markdown table, or "None."."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    rows = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([*lines, *rows]) if rows else "None."


def listed(settings):
    """Names of settings."""
    return ", ".join(NAMES[one] for one in settings)


def verdict_words(name, regime):
    """One line per verdict, with the settings in which an arm is shown better (+) and worse (-)."""
    words = {
        "supported": "**Supported**",
        "both": "**Supported, but mostly below half a point**",
        "refuted": "**Refuted**: no gain of half a point in three settings or more",
        "mixed": "**Mixed** (without settings: nothing shown, nothing excluded)",
        "none": "**No verdict**: more than a tenth of the pairs diverged",
        "fewer": "**Only in the two settings with SGD**, so the rules do not apply",
    }
    found = {word: [] for word in words}
    for arm in arms_of(name):
        fewer = len(settings_of(name, arm)) < ENOUGH
        word = "fewer" if fewer else verdict(name, regime, arm)
        better, worse = shown_ways(name, regime, arm, "early")
        signs = [
            f"{sign} {listed(where)}" for sign, where in (("+", better), ("-", worse)) if where
        ]
        found[word].append(arm + (f" ({'; '.join(signs)})" if signs else ""))
    return "\n".join(f"- {words[word]}: {'; '.join(arms)}" for word, arms in found.items() if arms)


def early_table(name, regime, readout="early", scale=100, digits=2):
    """Arms x settings: one readout."""
    rows = []
    means = [
        np.mean(list(values(name, regime, setting, "plain", readout).values())) for setting in NAMES
    ]
    rows.append(["plain", *(f"{scale * mean:.{digits}f}" for mean in means)])
    for arm in arms_of(name):
        cells = []
        for setting in NAMES:
            if (regime, setting, arm) not in runs(name):
                cells.append("")
                continue
            one, share = compared(name, regime, setting, readout).get(arm), 0.0
            if readout == "early":
                share = lost(name, regime, setting, arm)
            few = one is None or (readout != "early" and one.n < stats.MIN_SEEDS)
            text = "too few pairs" if few else cell(one, scale, digits)
            if readout != "early" and not few:
                text += f" ({one.n} pairs)"
            cells.append(text + f" ({share:.0%} of the pairs diverged)" * (share > 0))
        rows.append([with_partner(name, arm), *cells])
    return table(["arm", *NAMES.values()], rows)


def with_partner(name, arm):
    """An arm's name, with its partner's if that is not plain."""
    partner = arms_of(name)[arm]
    return arm if partner == "plain" else f"{arm} (minus {partner})"


def tuning_words(name):
    """How often tuning chose an end of its grid, and how often it made an arm worse."""
    found = {}
    with (HERE / name / "tuning.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["setting"], row["arm"]), []).append(row)
    lines = []
    for key in ("lr", "strength"):
        ends, choices = {"smallest": [], "largest": []}, 0
        for (_, arm), rows in found.items():
            grid = sorted({float(row[key]) for row in rows if row[key]})
            chosen = [float(row[key]) for row in rows if row["chosen"] == "True" and row[key]]
            if len(grid) > 1 and chosen:
                choices += 1
                for word, end in (("smallest", grid[0]), ("largest", grid[-1])):
                    ends[word] += [arm] if chosen[0] == end else []
        words = "; ".join(
            f"{len(arms)} are the {word} of the grid ("
            + ", ".join(f"{arm} {arms.count(arm)}" for arm in dict.fromkeys(arms))
            + ")"
            for word, arms in ends.items()
            if arms
        )
        what = {"lr": "rate", "strength": "strength"}[key]
        lines.append(f"- Of {choices} choices of a {what}, {words}.")
    worse = []
    for arm in arms_of(name):
        for setting in settings_of(name, arm, "tuned"):
            a, b = matched(*(values(name, r, setting, arm, "early") for r in ("tuned", "default")))
            if len(a) and (a - b).mean() < 0 and stats.sign_flip_test(a - b) < 0.05:
                worse.append(f"{arm} ({NAMES[setting]}, {100 * (a - b).mean():.2f})")
    lines.append(
        "- Worse than the same arm at default rates, p < .05 without correction: "
        f"{', '.join(worse) or 'none'}. Intervals and stars do not include the noise of tuning."
    )
    return "\n".join(lines)


def smallest(name, regime):
    """The smallest effects in points that the pairs would show, the median over arms, by setting."""
    found = []
    for setting in NAMES:
        alpha = 0.05 / len(compared(name, regime, setting, "early"))
        apart = [pairs(name, regime, setting, arm, "early") for arm in arms_of(name)]
        found.append(np.median([detectable(a - b, alpha) for a, b in apart if len(a) > 1]))
    return ", ".join(
        f"{100 * effect:.2f} ({where})" for where, effect in zip(NAMES.values(), found, strict=True)
    )


def diversity_table(name, setting):
    """Four measures over training, default regime: means over the seeds."""
    rows = []
    for arm in ("plain", *arms_of(name)):
        cells = []
        for metric in METRICS:
            every = [
                list(values(name, "default", setting, arm, f"{metric}@{moment}").values())
                for moment in MOMENTS
            ]
            cells.append(" ".join(f"{np.mean(one):.3g}" if one else "-" for one in every))
        if (("default", setting, arm)) in runs(name):
            rows.append([arm, *cells])
    return table(["arm", *(metric.replace("_", " ") for metric in METRICS)], rows)


def claims_table(name):
    """Did the correlation fall where accuracy rose? The arms that are supported."""
    rows = []
    for regime in REGIMES:
        for arm in arms_of(name):
            if not is_supported(name, regime, arm):
                continue
            row = [arm, regime]
            for moment in ("epoch1", "final"):
                tests = [
                    compared(name, regime, one, f"correlation@{moment}").get(arm) for one in NAMES
                ]
                row.append(
                    ", ".join(
                        f"{one.difference:+.3f}" + " \\*" * one.shown if one else "-"
                        for one in tests
                    )
                )
                row.append("yes" if diverse(name, regime, arm, moment) else "no")
            rows.append(row)
    head = ["arm", "regime", "Δ correlation, epoch 1", "help with diversity?"]
    return table([*head, "at the end", "help with diversity?"], rows)


def cheap_table(name):
    """The supported techniques against the best cheap baseline, tuned."""
    found = {setting: against_cheap(name, setting) for setting in NAMES}
    rows = []
    for arm in helpers_in(name):
        tests = [found[setting][1].get(arm) for setting in NAMES]
        ways = [
            [one for one in tests if one and one.shown and s * one.difference > 0] for s in (1, -1)
        ]
        rows.append([arm, *map(cell, tests), f"{len(ways[0])} above, {len(ways[1])} below"])
    heads = [f"{NAMES[setting]}, minus {best}" for setting, (best, _) in found.items()]
    return table(["technique", *heads, "shown"], rows)


def relations_table(name):
    """Spearman's rank correlation of diversity with the final accuracy over plain's seeds."""
    found = relations(name)
    rows = []
    for metric, sign in METRICS.items():
        cells, right = [], 0
        for setting in NAMES:
            one, p = found[setting, metric]
            right += one is not None and p < 0.05 and sign * one.estimate > 0
            mark = " \\*" if p < 0.05 else ""
            cells.append(in_rho(one) + mark if one else "constant")
        word = "supported" if right >= 2 else "not supported"
        rows.append([metric.replace("_", " "), "+" if sign > 0 else "-", *cells, word])
    return table(["metric", "sign if diversity helps", *NAMES.values(), "by the plan"], rows)


def in_rho(one):
    """A rank correlation with its interval."""
    return f"{one.estimate:+.2f} [{one.low:.2f}, {one.high:.2f}]"


def predictions_table():
    """How diversity affects the predictions of 50 plain networks of each setting."""
    rows = []
    for setting, name in NAMES.items():
        path = HERE / "paper" / "predictions" / f"{setting.replace(', ', '-')}.json.gz"
        found = json.loads(gzip.decompress(path.read_bytes()))
        ablation, ensemble, spread = (
            found[key] for key in ("ablation", "ambiguity", "bias_variance")
        )
        inner = [
            stats.spearman(*(np.array(x)[np.array(alive)] for x in (alike, drop))).estimate
            for drop, alike, alive in zip(
                *(ablation[key] for key in ("drop", "alike", "alive")), strict=True
            )
        ]
        cancels = np.sum(ensemble["ambiguity"]) / np.sum(ensemble["members"])
        H = spread["H"]
        parts = spread["bias"], spread["variance"] / H, (1 - 1 / H) * spread["covariance"]
        rows.append(
            [
                name,
                f"{100 * np.mean(found['accuracy']):.1f}",
                f"{100 * np.mean(ablation['drop']):.1f}",
                in_rho(stats.sign_flip_interval(inner)),
                f"{100 * cancels:.1f} %",
                ", ".join(f"{100 * part / spread['error']:+.0f} %" for part in parts),
            ]
        )
    head = ["setting", "accuracy, %", "points lost without a neuron"]
    head += ["rank correlation of that loss with its largest correlation to another neuron"]
    head += ["neurons' errors that cancel out", "bias, variance, covariance, of the squared error"]
    return table(head, rows)


def controls_words(*names):
    """The results of the controls, of all these names together, and whether they void the study."""
    p_values, found, planted = [], 0, 0
    for name in names:
        values_of, found_of, planted_of = controls(name)
        p_values, found, planted = p_values + values_of, found + found_of, planted + planted_of
    lines = [f"Controls: planted effects are found in {found} of {planted} tables; A/A:"]
    void = found < planted
    if len(p_values) < 5:
        lines.append("too few p values to test whether they are uniform.")
    else:
        p = stats.uniformity_check(p_values).p
        void |= p < 0.01
        lines.append(f"{len(p_values)} p values, no sign that they are not uniform (p = {p:.3f}).")
        if p < 0.01:
            lines[-1] = f"{len(p_values)} p values that are **not uniform** (p = {p:.3f})."
    return " ".join(lines) + " **By the plan this study is void.**" * void + "\n"


def unfinished(name):
    """A line on seeds that are missing."""
    there = {regime: seeds_of(name, regime) for regime in REGIMES}
    if min(there.values()) >= PLANNED[name]:
        return f"{PLANNED[name]} paired seeds, {len(arms_of(name))} arms beside plain: finished.\n"
    words = ", ".join(f"{n} seeds ({regime})" for regime, n in there.items())
    return f"**Not finished:** {words} of {PLANNED[name]}. By the plan this decides nothing.\n"


def written(name):
    """verdict.md of one study."""
    text = [
        f"# The study {name}, by the rules of the plan\n",
        unfinished(name),
        controls_words(name),
        "Mean test accuracy over epochs 1 to 5, in points: the difference to the arm's partner (plain, or",
        "what is named) with its 95 % interval. \\* marks what is shown after Holm's correction over the",
        "arms of a column.\n",
    ]
    for regime in REGIMES:
        if not seeds_of(name, regime):
            continue
        text += [f"## {regime.capitalize()} regime\n", verdict_words(name, regime), ""]
        if regime == "tuned":
            text += [tuning_words(name), ""]
        text += [
            "Where nothing is shown, a true effect of so many points would have been with a chance of .8",
            f"(median over arms): {smallest(name, regime)}.\n",
            early_table(name, regime),
            "",
            "Steps until the accuracy at which plain ends on average, over the seeds in which both reach",
            "it (the arm minus its partner; fewer is better):\n",
            early_table(name, regime, "steps_to_target", 1, 0),
            "",
        ]
    text += [
        "## Was it diversity?\n",
        "The arms that are supported. Help with diversity: accuracy is shown higher and the neurons'",
        "correlation lower at the same moment, in three settings or more. The change of correlation stands",
        f"in the order {', '.join(NAMES.values())}.\n",
        claims_table(name),
        "",
    ]
    if "paper" in kept_studies() and seeds_of(name, "tuned"):
        text += [
            "## More than a cheap baseline?\n",
            "Tuned regime: each technique that is supported in a regime, minus the best of plain (in the",
            "settings with Adam that is Adam), standardised inputs, momentum, Adam and batch norm of the",
            "study paper on the same seeds; Holm over these techniques.\n",
            cheap_table(name),
            "",
        ]
    if name == "paper":
        text += [
            "## Does a network whose neurons are more diverse predict better?\n",
            "Over the seeds of plain, default regime: Spearman's rank correlation with the final accuracy.",
            "\\* marks what is shown after Holm over all of these tests (of random orders). Support: the",
            "sign that diversity predicts, shown in two settings or more.\n",
            relations_table(name),
            "",
            "Not planned, after these results were seen: the mean over the settings, with one random order",
            "of seeds for all of them; no correction.\n",
            "; ".join(
                f"{metric.replace('_', ' ')} {mean:+.2f} (p = {p:.3f})"
                for metric, (mean, p) in joint_relations(name).items()
            )
            + ".\n",
            "## How diversity bears on predictions\n",
            "50 plain networks of each setting (python -m tinydiv.predictions). Rank correlations are",
            "within each network, then averaged: above zero, more is lost without similar neurons.",
            "The last two columns read the neurons as an ensemble. Cross-entropy does not teach outputs to",
            "be 0 or 1, so these squared errors are read by their proportions alone.\n",
            predictions_table(),
            "",
        ]
    text += ["## Diversity over training, default regime\n"]
    text += [f"Means after {', '.join(MOMENTS)}: described, not tested.\n"]
    for setting in NAMES:
        text += [f"### {NAMES[setting]}\n", diversity_table(name, setting), ""]
    return "\n".join(text)


# The map -------------------------------------------------------------------------------------------


@functools.cache
def costs(name):
    """{arm: time of a step, times plain's}, default regime, mean over settings."""
    found = {}
    with (HERE / name / "costs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["regime"] == "default" and row["step_seconds"]:
                found.setdefault(row["arm"], {})[row["setting"]] = float(row["step_seconds"])
    return {
        arm: float(np.mean([seconds / found["plain"][s] for s, seconds in times.items()]))
        for arm, times in found.items()
    }


def gain(name, arm):
    """The primary readout at default rates, over the settings; None without a verdict."""
    found = over_settings(name, "default", arm, "early")
    return None if found is None else found.difference


def everything():
    """[(study, arm)], kind by kind, the best at default rates first."""
    kinds = ("baseline", "scale", "start", "technique")
    every = [(name, arm) for name in kept_studies() for arm in arms_of(name)]
    worst = -np.inf
    return sorted(
        every,
        key=lambda one: (kinds.index(kind(*one)), -(worst if gain(*one) is None else gain(*one))),
    )


def telling():
    """The arms with the largest gains and losses at default rates, half and half: [(study, arm)].

    At most three of one family; without scales, the placebo and what is harmful on purpose.
    """
    every = [
        one
        for one in everything()
        if len(settings_of(*one)) == len(NAMES)
        and kind(*one) != "scale"
        and one[1] not in NO_TECHNIQUES
        and gain(*one)
    ]
    chosen = []
    for sign in (1, -1):
        found = []
        for one in sorted(every, key=lambda one: -sign * gain(*one)):
            alike = sum(family(*other) == family(*one) for other in chosen + found)
            if sign * gain(*one) > 0 and alike < OF_ONE_FAMILY and len(found) < MOST // 2:
                found.append(one)
        chosen += found
    return chosen


def map_rows():
    """One row per arm: effects in points over the settings, diversity, cost."""
    rows = []
    for name, arm in everything():
        row = [arm, arms_of(name)[arm], name]
        for regime in REGIMES:
            for readout in ("step100", "epoch1", "early", "final"):
                one = over_settings(name, regime, arm, readout)
                row.append(cell(one, star=False) if readout == "early" else short(one, 100))
        cost = costs(name).get(arm)
        row += [
            short(over_settings(name, "default", arm, "correlation@final"), 1, 3),
            short(over_settings(name, "default", arm, "dead_fraction@final"), 100, 1),
            "" if cost is None else f"{cost:.2f}",
        ]
        rows.append(row)
    return rows


def map_page():
    """map.md: every arm of the studies."""
    head = ["arm", "against", "study"]
    head += [
        f"{regime}: {moment}"
        for regime in REGIMES
        for moment in ("100 steps", "epoch 1", "epochs 1 to 5", "epoch 5")
    ]
    head += ["Δ correlation", "Δ dead neurons, points", "step, × plain"]
    seeds = " and ".join(f"{PLANNED[name]} ({name})" for name in kept_studies())
    return (
        "# The map: techniques and starts\n\n"
        + "".join(f"{name}: {unfinished(name)}\n" for name in kept_studies())
        + "Points of test accuracy, each seed's difference to the partner averaged over the settings\n"
        f"(four; momentum and adam: two), with the 95 % interval over {seeds} seeds, which is\n"
        "not corrected for the number of arms: verdicts are in the studies' own verdict.md.\n"
        "Correlation and dead neurons: default regime, after epoch 5.\n\n"
        + table(head, map_rows())
        + "\n\nThe arms with the largest gains and losses at default rates, at most three of one family: "
        + "; ".join(arm for _, arm in telling())
        + ".\n"
    )


def readme_table():
    """The README's table: the techniques with the largest gains and losses at default rates."""
    every = [
        one
        for one in everything()
        if kind(*one) == "technique" and one[1] not in NO_TECHNIQUES and gain(*one) is not None
    ]
    rows = []
    for name, arm in every[:IN_README] + every[IN_README:][-IN_README:]:
        gains = [
            over_settings(name, "default", arm, "early", data) for data in ("fashion", "mnist")
        ]
        cells = [cell(one, digits=1, star=False) for one in gains]
        rows.append([arm, f"{costs(name)[arm]:.1f}", *cells])
    return table(["technique", "step, × plain", "Fashion-MNIST", "MNIST"], rows)


def with_table(text):
    """README.md with its table of techniques made again; unchanged where it has none."""
    made = readme_table()
    before, head, after = text.partition(made.split("\n")[0])
    return before + made + "\n\n" + after.partition("\n\n")[2] if head else text


def differences(places):
    """(gains in points, whether each is shown) of a table of (name, regime, setting, arm); NaN where an arm
    is not trained, or too many networks diverged."""
    gains = np.full(np.shape(places)[:2], np.nan)
    shown = np.zeros(gains.shape, bool)
    for i, row in enumerate(places):
        for j, (name, regime, setting, arm) in enumerate(row):
            one = compared(name, regime, setting, "early").get(arm)
            if one is not None and lost(name, regime, setting, arm) <= DIVERGED:
                gains[i, j], shown[i, j] = 100 * one.difference, one.shown
    return gains, shown


def picture():
    """Arms x settings and regimes: the primary difference, framed where it is shown."""
    every = everything()
    columns = [(regime, setting) for regime in REGIMES for setting in NAMES]
    gains, shown = differences(
        [[(name, regime, setting, arm) for regime, setting in columns] for name, arm in every]
    )
    figure = new_figure(8.5, 2 + 0.3 * len(every))
    ax = figure.add_subplot()
    names = [with_partner(name, arm) for name, arm in every]
    heads = [f"{regime}\n" + NAMES[setting].replace(" ", "\n") for regime, setting in columns]
    plots.heat_map(ax, gains, names, heads, marked=shown, label="Δ points", digits=1, limit=LIMIT)
    ax.tick_params(axis="x", labelrotation=0, labeltop=True)
    for i in range(1, len(every)):
        if kind(*every[i]) != kind(*every[i - 1]):
            ax.axhline(i - 0.5, color="black", linewidth=1.5)
    ax.set_title(
        "Mean test accuracy over epochs 1 to 5: difference to the partner, in points\n"
        f"baselines, scales, starts, techniques; full colour from {LIMIT:g} points on\n"
        "framed: shown after Holm's correction; grey: not trained, or diverged\n",
        fontsize="small",
    )
    return figure


def main(folders):
    """Keep the runs of the folders; write verdicts, map and figure."""
    for folder in folders:
        keep(Path(folder), PLANNED)
    if not kept_studies():
        raise UsageError(f"no runs are kept in {HERE}: give the folder of a study")
    for name in kept_studies():
        (HERE / name / "verdict.md").write_text(written(name), encoding="utf-8")
    (HERE / "atlas").mkdir(exist_ok=True)
    (HERE / "atlas" / "map.md").write_text(map_page(), encoding="utf-8")
    readme = HERE.parent / "README.md"
    readme.write_text(with_table(readme.read_text("utf-8")), encoding="utf-8")
    with page("light"):
        save(picture(), HERE / "atlas" / "map.png")


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
