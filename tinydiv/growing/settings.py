"""The settings of each comparison: the flags of python -m tinydiv.grow NAME. No NumPy: --help is quick."""

from dataclasses import dataclass

from tinydiv.settings import choice, maybe, per_network, setting, sizes, text, whole, words
from tinydiv.settings import number as numeric


@dataclass(frozen=True)
class AuxiliaryConfig:
    """Networks whose size is one more weight."""

    tasks: tuple[str, ...] = setting(
        ("bessel-window",), words(","), "NAME[,NAME]", "curves to learn, or all"
    )
    arms: tuple[str, ...] = setting(("all",), words(","), "NAME[,NAME]", "ways to reach the size")
    trials: int = setting(
        1000, whole(2, 1_000_000), "N", "paired trials: start and points drawn anew"
    )
    lam: tuple[float, ...] | None = setting(
        None,
        maybe(per_network(0, 1e6)),
        "X[/X]",
        "strength of the size loss, one or several (default: the paper's of each task)",
    )
    sweep: int | None = setting(
        None, maybe(whole(2, 1000)), "N", "in place of --lam: this many values from 0.01 to 100"
    )
    goal: float = setting(5.0, numeric(0, 1000), "X", "the size that is wanted")
    room: int = setting(9, whole(1, 1000), "H", "number of hidden neurons")
    epochs: int | None = setting(
        None, maybe(whole(1, 10_000_000)), "N", "steps (default: the paper's of each task)"
    )
    seed: int = setting(0, whole(0, 2**31), "S", "the first trial's seed")
    points: str = setting(
        "own",
        choice("own", "shared"),
        "HOW",
        "each trial draws its own points, or all share the first's",
    )


@dataclass(frozen=True)
class MaskConfig:
    """A controller that opens the layer."""

    tasks: tuple[str, ...] = setting(
        ("bessel",), words(","), "NAME[,NAME]", "bessel, spirals, or all"
    )
    arms: tuple[str, ...] = setting(
        ("static", "gate", "mask", "mask-closed"), words(","), "NAME[,NAME]", "arms, or all"
    )
    widths: tuple[int, ...] = setting((10,), sizes(20, 4096), "H[,H]", "hidden neurons")
    lrs: tuple[float, ...] = setting((1e-3,), per_network(0, 10), "X[/X]", "rates of Adam")
    seeds: int = setting(100, whole(2, 100_000), "N", "paired seeds: start and data")
    epochs: int = setting(5000, whole(1, 10_000_000), "N", "full-batch steps")
    points: int = setting(
        1024, whole(10, 10_000_000), "N", "points, a fifth to test (paper: 32768)"
    )


@dataclass(frozen=True)
class CondenseConfig:
    """A trained run with fewer neurons: condensed, merged by response, pruned, and from scratch."""

    taus: tuple[float, ...] = setting(
        (0.95, 0.9, 0.7, 0.5), per_network(0, 1), "X[/X]", "cosines above which neurons are merged"
    )
    layer: int = setting(1, whole(1, 64), "L", "hidden layer")
    epochs: int = setting(1, whole(0, 1_000_000), "N", "epochs of retraining afterwards")


@dataclass(frozen=True)
class FashionConfig:
    """Ways to grow on images, beside full size from the start, at equal flops."""

    data: str = setting("fashion-mnist", text, "NAME", "data set; fashion-mini needs no download")
    arms: tuple[str, ...] = setting(("all",), words(","), "NAME[,NAME]", "ways to grow, and full")
    widths: tuple[int, ...] = setting((32,), sizes(20, 4096), "H[,H]", "hidden neurons at the end")
    first: int = setting(4, whole(1, 4096), "N", "neurons that are awake from the start")
    number: int = setting(4, whole(1, 4096), "N", "neurons that wake each time")
    every: tuple[int, ...] = setting((200,), sizes(20, 1_000_000), "K[,K]", "steps between wakings")
    steps: int = setting(4000, whole(20, 10_000_000), "N", "flops to spend, in steps of full size")
    seeds: int = setting(12, whole(2, 10_000), "N", "paired seeds: start and order of batches")
    lr: float = setting(1e-3, numeric(0, 10), "X", "rate of Adam")
    schedule: str = setting("linear", text, "SHAPE", "the rate over an arm's own steps")
    init: str = setting("decorrelated", text, "NAME", "how the weights start")
    beside: tuple[str, ...] = setting(
        (), words(""), "SPEC", "a technique for all arms", repeat=True
    )
