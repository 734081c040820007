"""What a study is: arms, settings, seeds; how files define it; what is refused, in one sentence."""

import dataclasses
import json
import tomllib
from pathlib import Path
from unittest.mock import Mock

import pytest
from studies import SMALL, TOML, small_study, tuned_study

from tinydiv import data, optimizers
from tinydiv.errors import RunError, UsageError
from tinydiv.runs.build import filled_in
from tinydiv.runs.config import USUAL_BATCH, TrainConfig
from tinydiv.study import NAMED, Arm, Measure, Setting, Study, load_study, run_study
from tinydiv.study.engine import plan_text, read_study
from tinydiv.study.keys import ELSEWHERE, Controls, Training
from tinydiv.study.plan import (
    AA_SEEDS,
    TUNING_SEEDS,
    all_arms,
    arms_in,
    candidates,
    final_trials,
    may_differ,
    own_candidate,
    specs_for,
    tuning_seeds,
    tuning_trials,
)
from tinydiv.study.reading import from_dict, from_tables, from_toml
from tinydiv.study.specification import plain
from tinydiv.study.store import FORMER


def training(changes=(), arm=None, setting=None, **train):
    study = Study("s", [Arm("a", arm or dict(changes))], train=train)
    return study.training(Setting("here", setting or {}), study.arms[0])


# Arms over settings over [train] -------------------------------------------------------------------


def test_an_arm_changes_a_setting_which_changes_the_rest():
    found = training(
        arm={"epochs": 3}, setting={"epochs": 2, "hidden": [8]}, hidden=[4], inputs="raw"
    )
    assert (found.epochs, found.hidden, found.inputs) == (3, (8,), "raw")
    assert Training(lr=optimizers.Adam.default_lr) == training()


@pytest.mark.parametrize("name", ["fashion-mini", "moons", "xor"])
def test_a_key_that_train_has_too_has_its_default(name):
    config = TrainConfig(data=name)
    filled = filled_in(config, data.load(name))
    found = training(data=name)
    shared = {f.name for f in dataclasses.fields(TrainConfig)} & {
        f.name for f in dataclasses.fields(Training)
    }
    assert {"init", "optimizer", "epochs", "batch_size", "hidden", "dtype"} <= shared
    for key in shared - {"lr", "weight_decay", "batch_size"}:
        assert getattr(found, key) == getattr(filled, key), key
    assert (found.lr,) == filled.lr
    assert found.weight_decay in (None, *filled.weight_decay)
    assert min(found.batch_size, filled.batch_size) == filled.batch_size
    assert found.batch_size == USUAL_BATCH


def test_every_flag_of_train_is_a_key_or_a_sentence_that_names_what_a_study_has_instead():
    """A flag that train gains later must be one or the other."""
    keys = {f.name for f in dataclasses.fields(Training)}
    flags = {f.name for f in dataclasses.fields(TrainConfig)}
    assert flags == (keys & flags) | set(ELSEWHERE)
    for flag, why in ELSEWHERE.items():
        with pytest.raises(UsageError) as caught:
            training(**{flag.replace("_", "-"): 1})
        assert str(caught.value) == f"[train] takes no {flag.replace('_', '-')!r}: {why}"


def test_a_key_that_came_later_changes_no_digest_of_a_study_made_before():
    before = {f.name for f in dataclasses.fields(Training)} - set(Training.LATER)
    assert set(plain(training())) == before
    assert plain(training(clip=1.0))["clip"] == 1.0


def test_another_optimizer_does_not_inherit_a_rate_that_was_meant_for_another():
    other = training(arm={"optimizer": "adam"}, optimizer="sgd", lr=0.5)
    assert other.lr == optimizers.Adam.default_lr
    assert training(arm={"optimizer": "adam", "lr": 0.02}, optimizer="sgd", lr=0.5).lr == 0.02
    assert training(arm={"optimizer": "adam"}, lr=0.5).lr == 0.5
    rates = {"sgd": 0.3, "adam": 0.004}
    assert training(arm={"optimizer": "adam"}, lr=rates).lr == 0.004
    assert training(lr=rates).lr == 0.004
    assert training(arm={"optimizer": "momentum"}, lr=rates).lr == optimizers.Momentum.default_lr
    decayed = training(arm={"optimizer": "adamw"}, weight_decay=0.3)
    assert decayed.weight_decay is None  # adamw's own


def test_the_grid_makes_every_combination_a_setting_and_names_it_by_what_differs():
    study = small_study(grid={"hidden": [[4], [8, 8]], "optimizer": ["sgd", "adam"], "epochs": [2]})
    assert [s.name for s in study.all_settings] == [
        *("hidden 4, sgd", "hidden 4, adam", "hidden 8-8, sgd", "hidden 8-8, adam")
    ]
    assert study.training(study.all_settings[3], Arm("x")).hidden == (8, 8)
    assert study.training(study.all_settings[3], Arm("x")).epochs == 2
    listed = small_study(settings=[Setting("one", {"hidden": [3]})], grid={"epochs": [1, 2]})
    assert [s.name for s in listed.all_settings] == ["one, epochs 1", "one, epochs 2"]


def test_an_arm_that_changes_nothing_in_a_setting_is_left_out_of_it():
    arms = [Arm("plain"), Arm("adam", {"optimizer": "adam"}), Arm("wide", {"hidden": [9]})]
    arms[2] = dataclasses.replace(arms[2], only={"optimizer": ["adam"]})
    study = small_study(arms, grid={"optimizer": ["sgd", "adam"]})
    sgd, adam = study.all_settings
    assert [a.name for a in arms_in(study, sgd)] == ["plain", "adam", "A/A", "one epoch ahead"]
    assert [a.name for a in arms_in(study, adam)] == ["plain", "wide", "A/A", "one epoch ahead"]


# Trials --------------------------------------------------------------------------------------------


def test_every_arm_has_the_same_seeds_and_controls_and_tuning_have_others():
    study = tuned_study(first_seed=7)
    here = study.all_settings[0]
    seeds = {}
    for arm in all_arms(study):
        trials = final_trials(study, here, arm, own_candidate(study, here, arm))
        seeds[arm.name] = [trial.seed for trial in trials]
    assert seeds["plain"] == seeds["adam"] == seeds["one epoch ahead"] == [7, 8, 9, 10, 11, 12]
    assert seeds["A/A"] == [AA_SEEDS + s for s in seeds["plain"]]
    tried = tuning_trials(study, here, study.arms[2], 4)
    assert {trial.seed for trials in tried.values() for trial in trials} == {
        TUNING_SEEDS + i for i in range(4)
    }
    assert {trial.validation for trials in tried.values() for trial in trials} == {64}


def test_every_arm_gets_the_same_number_of_tuning_trials():
    study = tuned_study()
    here = study.all_settings[0]
    seeds = tuning_seeds(study, [(here, arm) for arm in study.arms])
    spent = [len(candidates(study, here, arm)) * seeds[here.name, arm.name] for arm in study.arms]
    assert spent == [6, 6, 6]
    assert [len(candidates(study, here, arm)) for arm in study.arms] == [3, 3, 6]


def test_the_grid_is_relative_to_each_arms_own_rate_and_a_strength_of_zero_stays_zero():
    study = tuned_study(
        arms=[
            Arm("plain", {"lr": 0.2}),
            Arm("off", {"technique": ["decov:strength={strength}"], "strength": 0}),
        ]
    )
    plain, off = study.arms
    rates = [c.lr for c in candidates(study, study.all_settings[0], plain)]
    assert rates == pytest.approx([0.06, 0.2, 0.6])
    assert {c.strength for c in candidates(study, study.all_settings[0], off)} == {0.0}


def test_a_strength_of_the_frameworks_may_differ_between_networks_and_others_may_not():
    assert may_differ("decov:strength={strength}")
    assert may_differ("negative-correlation:lambda={strength}")
    assert not may_differ("muon:lr={strength}")
    one = Training(technique=("decov:strength={strength}", "muon:lr=0.5"), strength=0.1, lr=0.1)
    assert specs_for(one, [0.1, 0.25]) == ["decov:strength=0.1/0.25", "muon:lr=0.5"]
    other = Training(technique=("muon:lr={strength}",), strength=0.03, lr=0.1)
    assert specs_for(other, [0.03]) == ["muon:lr=0.03"]


def test_trials_that_differ_only_in_start_rate_or_strength_are_of_one_kind_and_have_different_keys():
    arms = [
        Arm("a", {"technique": ["decov:strength={strength}"], "strength": 0.1}),
        Arm("b", {"technique": ["decov:strength={strength}"], "strength": 0.2, "lr": 0.3}),
        Arm("c", {"technique": ["decov:strength={strength}"], "strength": 0.1, "init": "pytorch"}),
        Arm("d", {"technique": ["decov:strength={strength},schedule=linear"], "strength": 0.1}),
    ]
    study = small_study(arms)
    here = study.all_settings[0]
    trials = [final_trials(study, here, a, own_candidate(study, here, a))[0] for a in arms]
    assert len({trial.kind for trial in trials}) == 2
    assert trials[0].kind == trials[1].kind == trials[2].kind
    assert len({trial.key for trial in trials}) == 4
    again = small_study(arms, seeds=9)
    same = final_trials(again, here, arms[0], own_candidate(again, here, arms[0]))[0]
    assert same.key == trials[0].key


# Files ---------------------------------------------------------------------------------------------


def test_a_file_and_python_define_the_same_study(tmp_path):
    (tmp_path / "mine.toml").write_text(TOML)
    read = from_toml(tmp_path / "mine.toml")
    made = tuned_study(
        arms=[
            Arm("plain"),
            Arm("adam", {"optimizer": "adam", "lr": 0.01}),
            Arm("decov", {"technique": ["decov:strength={strength}"], "strength": 0.5}),
            Arm("batch norm", {"technique": ["batch-norm"]}),
        ]
    )
    made = dataclasses.replace(made, name="mine", title="Moons", tuning=read.tuning, train=SMALL)
    assert read.as_dict() == made.as_dict()
    assert read.fingerprint == made.fingerprint
    quick = from_toml(tmp_path / "mine.toml", quick=True)
    assert (quick.seeds, quick.regimes) == (2, ["default"])
    assert [arm.name for arm in quick.arms] == ["plain", "adam"]
    assert quick.train["epochs"] == 2
    assert quick.train["hidden"] == [6]
    assert from_toml(tmp_path / "mine.toml", seeds=3).seeds == 3


def test_what_study_json_keeps_gives_the_study_back():
    study = tuned_study(
        grid={"hidden": [[4], [6]]},
        settings=[Setting("a", {"epochs": 2}, 0.9)],
        base="adam",
        title="T",
    )
    again = from_dict(study.as_dict())
    assert again.as_dict() == study.as_dict()
    assert [study.measure_in(one).success for one in again.all_settings] == [0.9, 0.9]
    assert "success" not in plain(Setting("a"))  # older studies keep their fingerprint


@pytest.mark.parametrize("wrong", [1.5, "all", True])
def test_the_success_of_a_setting_is_a_share(wrong):
    table = {"arms": [{"name": "a"}], "settings": [{"name": "one", "success": wrong}]}
    with pytest.raises(
        UsageError, match="success of the setting 'one' must be a number from 0 to 1"
    ):
        from_tables(table, "mine.toml")


@pytest.mark.parametrize("name", NAMED)
def test_the_named_studies_can_be_read(name):
    whole = load_study(name)
    assert whole.seeds >= 20
    assert whole.question


@pytest.mark.parametrize("name", ["paper", "minima", "atlas"])
def test_the_small_versions_of_named_studies_can_be_trained(name):
    quick = load_study(name, quick=True)
    assert quick.seeds >= 10  # fewer seeds show nothing
    sentence = plan_text(quick)  # loads the data, builds every arm and takes one step with it
    assert name in sentence
    assert "networks" in sentence


def test_the_study_paper_contains_the_cheap_baselines_and_the_scales():
    arms = {arm.name for arm in load_study("paper").arms}
    assert {"standardised inputs", "momentum", "adam", "batch norm", "dropout"} <= arms
    assert {"decov, lambda 0", "he + centring", "he x (.5, 2)", "he x (2, 1)"} <= arms


# What is refused -----------------------------------------------------------------------------------

ARM = {"name": "a"}
REFUSED = [
    ({"arms": []}, "has no arms"),
    ({"arms": [ARM, ARM]}, "the arm 'a' is used twice"),
    ({"arms": [{"hidden": [3]}]}, "needs a name"),
    ({"arms": ["a"]}, r"written as tables, \[\[arms\]\]"),
    ({"arms": [ARM], "sedes": 3}, "unknown key 'sedes': did you mean 'seeds'"),
    ({"arms": [ARM], "seeds": 0}, "seeds must be a whole number from 1"),
    ({"arms": [ARM], "seeds": "many"}, "seeds must be a whole number from 1"),
    ({"arms": [ARM], "base": "b"}, "no arm for the base called 'b'"),
    ({"arms": [{"name": "a", "against": "b"}]}, "partner of 'a' called 'b'"),
    ({"arms": [{"name": "a", "against": "a"}]}, "cannot be compared with itself"),
    ({"arms": [{"name": "a", "lrate": 3}]}, "unknown key 'lrate': did you mean 'lr'"),
    ({"arms": [{"name": "a", "lr": "fast"}]}, "lr in the arm 'a' must be a number"),
    ({"arms": [{"name": "a", "lr": -1}]}, "lr in the arm 'a' must be a number from 0"),
    ({"arms": [{"name": "a", "data": "mnist"}]}, "arms are compared on the same samples"),
    ({"arms": [{"name": "a", "control": "plnted"}]}, "did you mean 'planted'"),
    ({"arms": [{"name": "a", "only": {"optimzer": "sgd"}}]}, "did you mean 'optimizer'"),
    ({"arms": [{"name": "a", "strength": 1}]}, "none of its techniques uses it"),
    (
        {"arms": [{"name": "a", "technique": ["decov:strength={strength}"]}]},
        "needs strength = NUMBER",
    ),
    ({"arms": [{"name": "a", "optimizer": "adm"}]}, "did you mean 'adam'"),
    ({"arms": [ARM], "regimes": ["tund"]}, "did you mean 'tuned'"),
    ({"arms": [ARM], "regimes": "tuned"}, "regimes in x is a list"),
    ({"arms": [ARM], "regimes": []}, "default, tuned or both"),
    ({"arms": [ARM], "grid": {"hidden": 4}}, "grid.hidden in x is a list of values"),
    ({"arms": [ARM], "train": 4}, "train in x is a table"),
    ({"arms": [ARM], "measure": {"steps": [5, 3]}}, "must rise from step to step"),
    ({"arms": [ARM], "measure": {"target": 2}}, "target .* is an accuracy above 0 and up to 1"),
    ({"arms": [ARM], "tuning": {"rates": []}}, "rates .* takes 1 to 100 numbers"),
    ({"arms": [ARM], "controls": {"aa": 1}}, "aa .* is true or false"),
]


@pytest.mark.parametrize(("table", "sentence"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_a_file_that_is_no_study_gets_one_sentence(table, sentence):
    with pytest.raises(UsageError, match=sentence):
        from_tables({"name": "s", **table}, "x")


TRAINED = [
    (
        Arm("b", {"technique": ["decv"]}),
        "the arm 'b': there is no technique called 'decv': did you",
    ),
    (Arm("b", {"technique": ["muon", "cayley"]}), "the arm 'b': .*both own the update"),
    (Arm("b", {"init": "he-norml"}), "the arm 'b': there is no initializer called 'he-norml'"),
    (Arm("b", {"inputs": "rw"}), "the arm 'b': .*'rw'"),
    (Arm("b", {"activation": "rleu"}), "the arm 'b': .*did you mean 'relu'"),
    (Arm("b", {"loss": "crossentropy"}), "the arm 'b': .*did you mean 'cross-entropy'"),
    (Arm("b", {"technique": ["consensus"]}), "the arm 'b': consensus .*cannot be part of a study"),
]


@pytest.mark.parametrize(("arm", "sentence"), TRAINED, ids=[str(i) for i in range(len(TRAINED))])
def test_an_arm_that_cannot_be_trained_is_named_before_anything_is_written(arm, sentence, tmp_path):
    study = small_study([Arm("a"), arm])
    with pytest.raises(UsageError, match=sentence):
        run_study(study, tmp_path / "out", show=False)
    assert not (tmp_path / "out").exists()


def test_mistakes_that_show_only_with_the_data(tmp_path):
    with pytest.raises(UsageError, match="no data set called 'moon'"):
        run_study(small_study(train={"data": "moon"}), tmp_path / "o", show=False)
    with pytest.raises(UsageError, match="no metric called 'corelation'"):
        run_study(small_study(measure=Measure(metrics=("corelation",))), tmp_path / "o", show=False)
    with pytest.raises(UsageError, match="no readout called 'fnal'"):
        run_study(small_study(primary="fnal"), tmp_path / "o", show=False)
    with pytest.raises(UsageError, match="tuning holds out 64 samples, but 'all' trains on 50"):
        run_study(tuned_study(train={**SMALL, "n_train": 50}), tmp_path / "o", show=False)
    with pytest.raises(UsageError, match="cannot be tuned by steps_to_target"):
        run_study(tuned_study(primary="steps_to_target"), tmp_path / "o", show=False)
    arms = [
        Arm("a"),
        Arm("b", {"technique": ["negative-correlation:strength={strength}"], "strength": 1}),
    ]
    tuned = dataclasses.replace(tuned_study(arms=arms).tuning, strengths=(1.0, 10.0))
    study = dataclasses.replace(tuned_study(arms=arms), tuning=tuned)
    with pytest.raises(UsageError, match=r"tuning grid of the arm 'b': .*from 0 to 1, got 10"):
        run_study(study, tmp_path / "o", show=False)
    assert not (tmp_path / "o").exists()


def test_files_that_cannot_be_read_and_names_that_do_not_exist(tmp_path):
    with pytest.raises(UsageError, match="no study called 'papr': did you mean 'paper'"):
        load_study("papr")
    with pytest.raises(UsageError, match="there is no study file"):
        load_study("nothing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("seeds = = 3")
    with pytest.raises(UsageError, match="cannot be read"):
        load_study(str(broken))
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load_study(str(broken))
    with pytest.raises(UsageError, match="unknown key 'quik': did you mean 'quick'"):
        from_tables({**tomllib.loads(TOML), "quik": {}}, "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Path, "read_bytes", Mock(side_effect=PermissionError(13, "Permission denied"))
        )
        with pytest.raises(UsageError, match=r"broken.toml cannot be read: Permission denied$"):
            load_study(str(broken))
    slow = tmp_path / "slow.toml"
    slow.write_text(TOML.split("[quick]")[0])
    with pytest.raises(UsageError, match=r"has no \[quick\] table"):
        load_study(str(slow), quick=True)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(TOML.replace('arms = ["plain", "adam"]', 'arms = ["plain", "adm"]'))
    with pytest.raises(UsageError, match="did you mean 'adam'"):
        load_study(str(wrong), quick=True)


def test_a_study_of_an_older_version_keeps_the_defaults_of_that_version(tmp_path):
    """The keys that its study.json leaves out have the values of that version."""
    short = {"data": SMALL["data"], "hidden": [4], "lr": 0.1}
    old = Study(
        "s", [Arm("a")], train={**short, **FORMER}, seeds=1, controls=Controls(False, False)
    )
    run_study(old, tmp_path, executor="serial", show=False, figures=False)
    path = tmp_path / "study.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found |= {"format": 1, "sha256": None}
    found["study"]["train"] = short
    path.write_text(json.dumps(found), encoding="utf-8")
    read = read_study(tmp_path).results
    assert read.study.training(Setting("here"), read.study.arms[0]).init == "he-normal"
    assert len(read.curves) == 1
    path.write_text(json.dumps(found | {"format": 2}), encoding="utf-8")  # which has a digest
    with pytest.raises(RunError, match="its content does not fit the digest in it"):
        read_study(tmp_path)
