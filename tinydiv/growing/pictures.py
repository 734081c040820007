"""Pictures of growing networks: sizes over time, histograms of losses, the band of lambda."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tinydiv.files import atomic
from tinydiv.growing.auxiliary import ARMS, AuxiliarySetting
from tinydiv.growing.auxiliary_study import PUBLISHED_BANDS, Auxiliary, read_trials
from tinydiv.growing.comparing import ratio
from tinydiv.growing.fashion import COLUMNS, Fashion, read_seeds
from tinydiv.growing.mask_study import Mask
from tinydiv.growing.pieces import Arrays
from tinydiv.plots.style import (
    Picture,
    colour,
    dash,
    describe,
    legend_above,
    mark,
    new_figure,
    page,
    save,
)
from tinydiv.settings import rounded


def auxiliary(study: Auxiliary, folder: Path) -> None:
    """Write the pictures of a comparison: one of each task, and the band of lambda if it was swept."""
    settings = study.settings()
    lams = list(dict.fromkeys(s.lam for s in settings))
    for task in study.tasks:
        setting = next(s for s in settings if s.task == task)
        arms = {arm: study.arm(folder, setting, arm) for arm in study.arms}
        with page():
            title = f"{task}, lambda = {rounded(setting.lam, 6)}, {study.trials:,} trials"
            figure, (sizes, losses, histogram) = stacked(title, 3)
            over_time(sizes, arms, "sizes")
            over_time(losses, arms, "losses")
            histograms(histogram, arms)
            legend_above(sizes, columns=3)
            save(figure, folder / f"{task}.png")
        if len(lams) > 2:
            with page():
                figure = new_figure(6.2, 4.6)
                band(figure.subplots(), study, folder, task)
                save(figure, folder / f"{task}-lambda.png")


def mask(study: Mask, folder: Path) -> None:
    """One picture for each task, width and rate: the controller, and the test loss or accuracy."""
    for setting in study.settings():
        arms = {arm: study.arm(folder, setting, arm) for arm in study.arms}
        name = f"{setting.task}-{setting.width}-{setting.lr:g}"
        with page():
            title = f"{setting.task}, H = {setting.width}, rate {rounded(setting.lr, 6)}"
            figure, (sizes, tests) = stacked(title, 2)
            for i, (arm, found) in enumerate(arms.items()):
                look: dict[str, Any] = {"color": colour(i), "ls": dash(i), "label": arm}
                sizes.plot(found["epochs"], found["sizes"].mean(axis=1), **look)
                values = found["tests"].astype(float)
                if setting.task == "spirals":
                    tests.plot(found["epochs"], values.mean(axis=1), **look)
                else:
                    tests.plot(found["epochs"], np.exp(np.log(values).mean(axis=1)), **look)
            sizes.set(title="Controller c (mean over seeds)", xlabel="epoch")
            legend_above(sizes, columns=3)
            describe(sizes, "The mean controller of every arm against epochs.")
            if setting.task == "spirals":
                tests.set(title="Test accuracy (mean)", xlabel="epoch")
            else:
                tests.set(title="Test loss (geometric mean)", xlabel="epoch", yscale="log")
            describe(tests, "The result of every arm on the test points against epochs.")
            save(figure, folder / f"{name}.png")


def fashion(study: Fashion, folder: Path) -> None:
    """One picture for each width: accuracy, correlation and effective rank against flops."""
    arms = read_seeds(folder / "seeds.csv.gz")
    for width in study.widths:
        with page():
            figure, axes = stacked(f"{study.data}, {study.seeds} seeds, H = {width}", 3)
            mine = {key[1:]: found for key, found in arms.items() if key[0] == width}
            for ax, key in zip(axes, COLUMNS, strict=True):
                for i, ((every, arm), found) in enumerate(mine.items()):
                    label = arm if len(study.every) == 1 or arm == "full" else f"{arm}, {every}"
                    values = found[key].mean(axis=1)
                    ax.plot(found["spent"], values, color=colour(i), ls=dash(i), label=label)
                ax.set(title=TITLES[key], xlabel="flops spent, in steps of full size")
                describe(ax, f"{TITLES[key]} of every way to grow against the flops spent.")
            top = max(found["accuracy"].mean(axis=1).max() for found in mine.values())
            axes[0].set_ylim(top - 0.1, top + 0.005)
            legend_above(axes[0], columns=3)
            save(figure, folder / f"{width}.png")


TITLES = {
    "accuracy": "Test accuracy",
    "correlation": "Mean |correlation|",
    "rank": "Effective rank of the activations",
}


def stacked(title: str, n: int) -> tuple[Picture, list[Axes]]:
    """An empty picture of n axes, one below the other: on a telephone, too, its words can be read."""
    figure = new_figure(6.2, 0.9 + 2.8 * n)
    figure.suptitle(title, x=0.01, ha="left")
    return figure, list(figure.subplots(n, 1, squeeze=False)[:, 0])


def over_time(ax: Axes, arms: dict[str, Arrays], key: str) -> Axes:
    """Mean size N, or the geometric mean of the test loss, against epochs."""
    for i, (name, found) in enumerate(arms.items()):
        values = found[key].astype(float)
        if key == "losses":
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.exp(np.nanmean(np.log(values), axis=1))
        else:
            values = values.mean(axis=1)
        ax.plot(found["epochs"], values, color=colour(i), ls=dash(i), label=name)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    if key == "losses":
        ax.set(yscale="log", title="Test loss (geometric mean)", xlabel="epoch")
        describe(ax, "The geometric mean of the test loss of every arm falls with the epochs.")
    else:
        ax.set(title="Size N (mean over trials)", xlabel="epoch")
        describe(ax, "The mean size N of every arm against the epochs.")
    return ax


def histograms(ax: Axes, arms: dict[str, Arrays]) -> Axes:
    """Histograms of the trials' last test losses, on a logarithmic axis."""
    shown = [name for name in ("growing", "grown", "growing-plain", "grown-plain") if name in arms]
    logs = {name: np.log10(np.maximum(arms[name]["test"], 1e-12)) for name in shown or arms}
    logs = {name: values[np.isfinite(values)] for name, values in logs.items()}
    together = np.concatenate(list(logs.values()))
    low, high = (float(np.percentile(together, q)) for q in (0.2, 99.8))
    bins = np.linspace(low, high, 36).tolist()
    for name, values in logs.items():
        place = list(arms).index(name)
        ax.hist(
            values, bins, histtype="step", lw=1.8, color=colour(place), ls=dash(place), label=name
        )
        ax.axvline(values.mean(), color=colour(place), ls=dash(place), lw=0.8)
    ax.set(title="Last test loss (lines: geometric means)", xlabel="log10 of the test loss")
    describe(ax, f"Histograms of the last test losses of {', '.join(logs)}.")
    return ax


def band(ax: Axes, study: Auxiliary, folder: Path, task: str) -> Axes:
    """Growing over grown against lambda: ratio of geometric means, with intervals, and the paper's."""
    losses = read_trials(folder / "trials.csv.gz")
    pairs = [("growing", "grown"), ("growing-plain", "grown-plain"), ("growing", "grown-input-1")]
    pairs = [pair for pair in pairs if set(pair) <= set(study.arms)]
    lams = [s.lam for s in study.settings() if s.task == task]
    for i, (a, b) in enumerate(pairs):
        found = [ratio(*(losses[task, f"{lam:g}", arm]["test"] for arm in (a, b))) for lam in lams]
        fine = [(lam, r.geometric) for lam, r in zip(lams, found, strict=True) if r is not None]
        x, middle = [lam for lam, _ in fine], [g.estimate for _, g in fine]
        ax.plot(x, middle, color=colour(i), ls=dash(i), marker=mark(i), ms=3.5, label=f"{a} / {b}")
        low, high = [g.low for _, g in fine], [g.high for _, g in fine]
        ax.fill_between(x, low, high, color=colour(i), alpha=0.2, lw=0)
    if task == "bessel-window":
        for j, ((low_end, high_end), value) in enumerate(PUBLISHED_BANDS):
            label = "published" if j == 0 else None
            ax.plot(
                [low_end, high_end], [value, value], color="#777777", lw=3, alpha=0.6, label=label
            )
    ax.axhline(1, color="black", lw=0.8)
    ax.set(
        xscale="log", yscale="log", xlabel="lambda", ylabel="test loss, ratio of geometric means"
    )
    ax.set_title(f"{task}: growing over grown, {study.trials} trials each", fontsize="medium")
    ax.legend(frameon=False)
    describe(ax, "Ratios of geometric mean test losses against lambda, with 95 % intervals.")
    return ax


def curve_gif(path: Path, setting: AuxiliarySetting, arm: str = "growing", seed: int = 0) -> None:
    """An animation: one network's curve beside its task as neurons arrive, and the gates below."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    from tinydiv.backend import to_device, to_host
    from tinydiv.data import tasks
    from tinydiv.growing.auxiliary import Trials, forward, theta, train

    trials = Trials(setting, [seed])
    grid = np.linspace(-1, 1, 201)
    frames: list[tuple[int, float, np.ndarray, np.ndarray]] = []

    def look(epoch: int, now: Trials) -> None:
        out, S = forward(ARMS[arm], now, to_device(grid[:, None]))
        parts = to_host(S[:, :, 0]) * to_host(now.w3[:, 0])
        frames.append((epoch, float(to_host(now.N)[0]), to_host(out)[:, 0].copy(), parts))

    train(ARMS[arm], trials, moments=60, on_moment=look)
    target = tasks.curve(setting.task).y(grid)
    with page():
        figure = new_figure(8, 5)
        curve, gates = figure.subplots(2, 1, height_ratios=[3, 1])

        def draw(i: int) -> list[Axes]:
            epoch, size, out, parts = frames[i]
            curve.clear()
            gates.clear()
            curve.plot(grid, target, color="#777777", lw=3, alpha=0.5, label=setting.task)
            curve.plot(trials.points.x, trials.points.y, "o", ms=4, color="#777777")
            for h in range(setting.room):
                curve.plot(grid, parts[:, h], color=colour(h), ls=dash(h), lw=0.9, alpha=0.8)
            curve.plot(grid, out, color="black", lw=2, label="network")
            span = np.ptp(target) or 1
            curve.set(ylim=(target.min() - span, target.max() + span), xlim=(-1, 1))
            curve.set_title(f"{arm}: epoch {epoch:,}, N = {size:.2f}; thin: what each neuron adds")
            curve.legend(frameon=False, loc="upper right")
            g = theta(np.array([size]) - np.arange(setting.room)[:, None], setting.delta)[0][:, 0]
            gates.bar(
                np.arange(1, setting.room + 1), g, color=[colour(h) for h in range(setting.room)]
            )
            gates.set(ylim=(0, 1.05), xlabel="neuron", ylabel="gate")
            return [curve, gates]

        draw(0)
        figure.draw_without_rendering()
        figure.set_layout_engine(
            "none"
        )  # laid out once for all frames, which takes half of the time
        animation = FuncAnimation(figure, draw, frames=len(frames), interval=120)
        with atomic.replacing(path) as part:
            animation.save(str(part), writer=PillowWriter(fps=8), dpi=70)
