"""One flipped bit in a file of a run or a study: it is noticed, or what is read is what was written."""

import random
import warnings
from contextlib import chdir

import fuzz
import pytest
from studies import run, small_study, without_times

import tinydiv
from tinydiv.errors import RunError, UsageError
from tinydiv.files import read
from tinydiv.runs import folder as run_folder
from tinydiv.study import read_study
from tinydiv.study.engine import read_costs


def plain(value):
    """Whatever was read, as something that can be compared."""
    if hasattr(value, "tobytes"):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def model(path):
    net = tinydiv.load(path)
    about = [net.theta, net.sizes, net.activation.name, net.replicas, net.dtype]
    return plain([*about, *vars(net.transform).values(), *(layer.state() for layer in net.layers)])


def resumed(path):
    """What a run goes on with: from checkpoint.npz or config.json."""
    run = run_folder.reopen(path.parent, {})
    now, loop = run.standing, vars(run.standing.loop)
    states = [now.net.theta, now.optimizer.state(), now.techniques.state(), now.guard.state()]
    records = [run_folder.asdict(record) for record in loop.pop("records")]
    loop = {key: value for key, value in loop.items() if not callable(value)}
    return plain([repr(run.config), *states, repr(records), repr(loop)])


def pieces(path):
    """All arrays of an archive, as frames.npz and snapshots.npz are read."""
    with read.reading(path, "delete it"):
        return plain(read.npz_arrays(path)[0])


def costs(path):
    if not (found := read_costs(path)):
        raise RunError("is damaged, and will be counted again")
    return found


def tables(path):
    """The tables of a study that is taken up again: a damaged stack is trained again."""
    folder = path.parent.parent
    blocks = {block: block.read_bytes() for block in path.parent.iterdir()}
    run(small_study(seeds=2), folder, resume=True)
    for block, content in blocks.items():
        block.write_bytes(content)
    names = ("curves.csv", "runs.csv", "comparisons.csv")
    return [without_times((folder / name).read_text()) for name in names]


HOW = {"model.npz": model, "checkpoint.npz": resumed, "config.json": resumed, "costs.json": costs}
HOW |= {"frames.npz": pieces, "snapshots.npz": pieces, "block.npz": tables}
HOW |= {"study.json": lambda path: read_study(path.parent).markdown()}
HOW |= {"metrics.csv": lambda path: fuzz.networks_that_learned(path, 2)}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flips")
    with chdir(folder):
        return fuzz.good_files(folder)


@pytest.mark.parametrize("every", [101, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", HOW)
def test_a_flipped_bit_is_noticed_or_changes_nothing(name, every, good):
    """In every 101st byte, and in the last 30, where an archive says what it holds."""
    path, how = good[name][0], HOW[name]
    content, dice, sentences = path.read_bytes(), random.Random(every), []
    wanted = how(path)
    if name == "block.npz":
        every = max(every, 7)  # each flip trains networks
    places = sorted({*range(0, len(content), every), *range(len(content) - 30, len(content))})
    for place in places:
        bad = bytearray(content)
        bad[place] ^= 1 << dice.randrange(8)
        path.write_bytes(bad)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert how(path) == wanted, (place, bad[place])
        except (RunError, UsageError) as error:
            sentences.append(str(error))
        finally:
            path.write_bytes(content)
    # Of the settings of a run, it may say which one is another than in checkpoint.npz.
    word = str(path.parent) if name == "config.json" else "is damaged"
    assert not [sentence for sentence in sentences if word not in sentence or "\n" in sentence]
    # A damaged block is trained again, without an error.
    assert bool(sentences) == (name != "block.npz")
