"""Studies from TOML files, and the named studies that are part of tinydiv.

name = "mine"                        [train]      what all arms share
title = "Does it help?"              [grid]       keys with lists: every combination is a setting
seeds = 20                           [[settings]] or settings one by one, each with a name;
                                                  success, if it has its own
base = "plain"                       [[arms]]     name, what it changes; against, only, control
regimes = ["default", "tuned"]       [measure]  [tuning]  [controls]
                                     [quick]      the same keys once more, for --quick: tables change
                                                  single keys; arms and settings name those to keep
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tinydiv.errors import UsageError, nearest
from tinydiv.settings import from_table, shown, toml_table
from tinydiv.study.keys import Controls, Measure, Tuning
from tinydiv.study.specification import Arm, Setting, Study

FOLDER = Path(__file__).parent
NAMED = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
"""The names of the studies that are part of tinydiv."""

TEXTS = ("name", "title", "question", "base", "primary")
NUMBERS = ("seeds", "first_seed")
TABLES = ("train", "grid", "measure", "tuning", "controls")
KEYS = (*TEXTS, *NUMBERS, "regimes", *TABLES, "settings", "arms", "quick")
OF_ARM = ("name", "against", "only", "control")
OF_SETTING = ("name", "success")


def load_study(which: str, *, quick: bool = False, seeds: int | None = None) -> Study:
    """A study by name (paper, minima, atlas) or by the path of a TOML file.

    quick: with the changes of its [quick] table. seeds: another number of them.
    Raises UsageError for anything else, and for a file that is not a study.
    """
    path = Path(which)
    if which in NAMED:
        path = FOLDER / f"{which}.toml"
    elif path.suffix != ".toml":
        raise UsageError(
            f"there is no study called {shown(which)}: {nearest(which, NAMED)}, or the path of a "
            "file that ends in .toml"
        )
    return from_toml(path, quick=quick, seeds=seeds)


def study_of(
    inits: Sequence[str], techniques: Sequence[str], train: Sequence[str], seeds: int
) -> Study:
    """A study from arms on a command line. Each is a start or a technique, and its spec is its name.

    The base is the first start, or a plain network; techniques use the base's start. train: "key=value"
    for [train], the value as in TOML, or plain text. Raises UsageError for a wrong arm.
    """
    base: dict[str, object] = {"init": inits[0]} if inits else {}
    arms = [{"name": inits[0] if inits else "plain", **base}]
    arms += [{"name": init, "init": init} for init in inits[1:]]
    arms += [{"name": spec, "technique": [spec], **base} for spec in techniques]
    keys: dict[str, object] = {}
    for word in train:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--train is written KEY=VALUE, got {shown(word)}")
        try:
            keys[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            keys[key] = value
    table = {"name": "arms", "title": "Arms of one command", "seeds": seeds, "train": keys}
    return from_tables({**table, "arms": arms}, "this command")


def from_toml(path: Path, *, quick: bool = False, seeds: int | None = None) -> Study:
    """A study from a file, see load_study."""
    table = toml_table("study file", path)
    table.setdefault("name", path.stem)
    changes = table.pop("quick", None)
    if quick:
        if changes is None:
            raise UsageError(f"{path} has no [quick] table, so there is no --quick")
        table = quickened(table, changes)
    study = from_tables(table, str(path))
    return study if seeds is None else replace(study, seeds=seeds)


def quickened(table: Mapping[str, object], changes: object) -> dict[str, object]:
    """A study's tables with the changes of [quick]."""
    if not isinstance(changes, Mapping):
        raise UsageError(f"quick is a table of changes, got {shown(changes)}")
    merged: dict[str, object] = dict(table)
    for key, change in changes.items():
        if key not in KEYS or key == "quick":
            raise UsageError(f"[quick] has an unknown key {shown(key)}: {nearest(str(key), KEYS)}")
        if key in ("arms", "settings"):
            merged[key] = kept(key, table.get(key, []), change)
        elif isinstance(change, Mapping):
            before = table.get(key, {})
            merged[key] = {**(before if isinstance(before, Mapping) else {}), **change}
        else:
            merged[key] = change
    return merged


def kept(key: str, listed: object, names: object) -> list[object]:
    """The arms or settings whose names are given, in the order in which the study lists them."""
    entries = (
        [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    )
    known = [str(one.get("name")) for one in entries]
    wanted = names if isinstance(names, list) else [names]
    for name in wanted:
        if name not in known:
            raise UsageError(f"[quick] keeps {key} that do not exist: {nearest(str(name), known)}")
    return [one for one in entries if one.get("name") in wanted]


def from_tables(table: Mapping[str, object], where: str) -> Study:
    """A study from a TOML file's tables. Raises UsageError with one sentence for what is wrong."""
    for key in table:
        if key not in KEYS:
            raise UsageError(f"{where} has an unknown key {shown(key)}: {nearest(key, KEYS)}")
    settings: dict[str, object] = {}
    for key in TEXTS:
        if key in table:
            if not isinstance(table[key], str):
                raise UsageError(f"{key} in {where} is a text, got {shown(table[key])}")
            settings[key] = table[key]
    settings |= {key: table[key] for key in (*NUMBERS, "regimes") if key in table}
    if not isinstance(table.get("regimes", []), list):
        raise UsageError(f"regimes in {where} is a list, got {shown(table['regimes'])}")
    for key in ("train", "grid"):
        settings[key] = mapping(table.get(key, {}), f"{key} in {where}")
    for name, values in mapping(table.get("grid", {}), "grid").items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"grid.{name} in {where} is a list of values, got {shown(values)}")
    for key, kind in (("measure", Measure), ("tuning", Tuning), ("controls", Controls)):
        given = mapping(table.get(key, {}), f"{key} in {where}")
        settings[key] = kind(**from_table(kind, given, f"[{key}]"))
    settings["arms"] = [arm_from(one, where) for one in entries(table, "arms", where)]
    settings["settings"] = [setting_from(one, where) for one in entries(table, "settings", where)]
    return Study(**settings)  # type: ignore[arg-type]


def from_dict(found: Mapping[str, object]) -> Study:
    """A study from what Study.as_dict gave (study.json)."""
    table = dict(found)
    for key in ("arms", "settings"):
        table[key] = [
            {**mapping(one["changes"], key), **{k: v for k, v in one.items() if k != "changes"}}
            for one in entries(table, key, "study.json")
        ]
    for empty in [key for key in ("title", "question", "base") if not table.get(key)]:
        table.pop(empty)
    return from_tables(table, "study.json")


def entries(table: Mapping[str, object], key: str, where: str) -> Sequence[dict[str, object]]:
    """A list of tables, as [[arms]]."""
    listed = table.get(key, [])
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise UsageError(f"{key} in {where} are written as tables, [[{key}]], each with a name")
    return listed


def mapping(value: object, what: str) -> dict[str, object]:
    """A TOML table."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is a table, got {shown(value)}")
    return dict(value)


def arm_from(one: Mapping[str, object], where: str) -> Arm:
    """An arm from its [[arms]] table: keys that are not fields of Arm are changes to the training."""
    if not isinstance(one.get("name"), str):
        raise UsageError(f"every one of [[arms]] in {where} needs a name")
    own = {key: value for key, value in one.items() if key in OF_ARM}
    own["only"] = mapping(own.get("only", {}), f"only of the arm {one['name']!r}")
    for key in ("against", "control"):
        if not isinstance(own.get(key, ""), str):
            raise UsageError(f"{key} of the arm {one['name']!r} is a text, got {shown(own[key])}")
    changes = {key: value for key, value in one.items() if key not in OF_ARM}
    return Arm(changes=changes, **own)  # type: ignore[arg-type]


def setting_from(one: Mapping[str, object], where: str) -> Setting:
    """A setting from its [[settings]] table."""
    if not isinstance(one.get("name"), str):
        raise UsageError(f"every one of [[settings]] in {where} needs a name")
    changes = {key: value for key, value in one.items() if key not in OF_SETTING}
    return Setting(changes=changes, **{key: one[key] for key in OF_SETTING if key in one})  # type: ignore[arg-type]
