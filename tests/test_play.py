"""The page: its two networks are those of train, its server refuses other pages, and a browser shows it."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest

from tinydiv import losses
from tinydiv.backend import to_host
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.loop import batches
from tinydiv.play import command
from tinydiv.play.networks import Pair, Setup, by_similarity, command_of, python_of, read_setup
from tinydiv.play.server import Server
from tinydiv.train import command as train

SMALL = Setup(data="moons:n_train=200,n_test=100", hidden=6, batch_size=32, lr=0.01)


@pytest.fixture
def server():
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


# The two networks --------------------------------------------------------------------------------


@pytest.mark.parametrize("technique", ["", "decov:strength=0.3", "muon", "dropout"])
def test_the_right_network_is_the_one_that_train_trains(technique, tmp_path, monkeypatch):
    """After two epochs, by the very command that the page shows, to the bit."""
    setup = replace(SMALL, technique=technique, init="decorrelated")
    pair = Pair(setup)
    pair.advance(12)
    monkeypatch.chdir(tmp_path)
    words = command_of(setup).split()[3:]
    assert train.main([*words, "--epochs", "2", "--quiet", "--no-plot", "--out", "run"]) == 0
    with np.load("run/model.npz") as kept:
        for name in ("W0", "b0", "W1", "b1"):
            array = getattr(pair.right.run.net, name[0])[int(name[1])]
            np.testing.assert_array_equal(np.ravel(array), np.ravel(kept[name]))


def test_the_python_lines_train_the_same_network():
    setup = replace(SMALL, technique="decov", strength=0.2)
    names = {}
    lines = python_of(setup)
    exec(lines[: lines.index("run.train()")], names)
    np.testing.assert_array_equal(names["run"].net.theta, Pair(setup).right.run.net.theta)


@pytest.mark.parametrize("technique", ["decov:strength=0.5", "cosine", "negative-correlation"])
def test_a_gradient_comes_apart_into_task_and_technique(technique):
    pair = Pair(replace(SMALL, technique=technique))
    pair.advance(3)
    before = to_host(pair.right.run.net.theta).copy()
    shown = pair.gradient("right", 2)
    np.testing.assert_array_equal(to_host(pair.right.run.net.theta), before)  # nothing has moved

    run = pair.right.run
    net, data = run.net, run.data
    X, Y = next(batches(data, 32, 0, 0, done=3))
    trace = net.forward(X, Context(training=True, step=3))
    _, dlogits = losses.cross_entropy(trace.logits, Y)
    net.backward(trace, dlogits)
    np.testing.assert_allclose(shown["task"], to_host(net.dW[0])[:, 2], rtol=1e-6)
    np.testing.assert_allclose(np.add(shown["task"], shown["technique"]), shown["whole"])
    assert np.linalg.norm(shown["technique"]) > 1e-6
    assert shown["formula"].strip()
    W = to_host(net.W[0])[:, 2].copy()
    pair.advance()  # the next step has the gradient that was shown, and does what was shown
    np.testing.assert_allclose(to_host(net.dW[0])[:, 2], shown["whole"], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(to_host(net.W[0])[:, 2] - W, shown["update"], rtol=1e-4, atol=1e-7)


def test_an_update_that_a_technique_owns_is_shown():
    """Muon leaves the gradient alone and makes an update of its own from it."""
    pair = Pair(replace(SMALL, technique="muon"))
    pair.advance(3)
    shown, W = pair.gradient("right", 2), to_host(pair.right.run.net.W[0])[:, 2].copy()
    assert shown["technique"] == [0, 0]
    pair.advance()
    np.testing.assert_allclose(
        to_host(pair.right.run.net.W[0])[:, 2] - W, shown["update"], rtol=1e-4, atol=1e-7
    )


def test_a_scaled_gradient_and_a_removed_neuron():
    pair, other = Pair(SMALL), Pair(SMALL)
    pair.scale("left", 1, 0.0)
    before = to_host(pair.left.run.net.W[0]).copy()
    for each in (pair, other):
        each.advance(5)
    after = to_host(pair.left.run.net.W[0])
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    assert (after[:, 0] != before[:, 0]).any()
    np.testing.assert_array_equal(pair.right.run.net.theta, other.right.run.net.theta)
    cost = pair.remove("left", 0)
    assert cost["before"] == pair.left.accuracy[-1]
    pair.advance(5)
    assert (to_host(pair.left.run.net.W[1])[0] == 0).all()
    view = pair.view()["left"]
    assert view["removed"] == [0]
    assert 0 in view["dead"]


def test_settings_change_while_it_runs_and_keep_moments_and_weights():
    pair = Pair(SMALL)
    pair.advance(5)
    theta = to_host(pair.right.run.net.theta).copy()
    m = to_host(pair.right.run.standing.optimizer.moments["m"]).copy()
    assert pair.change(replace(SMALL, lr=0.1, technique="decov", strength=1.0)) is False
    np.testing.assert_array_equal(to_host(pair.right.run.net.theta), theta)
    np.testing.assert_array_equal(to_host(pair.right.run.standing.optimizer.moments["m"]), m)
    pair.advance()
    assert set(pair.right.penalties) == {"decov"}
    assert pair.left.penalties == {}
    assert pair.change(replace(pair.setup, hidden=4)) is True  # other networks: from the start
    assert pair.step == 0
    assert pair.change(replace(pair.setup, technique="batch-norm", strength=None)) is True
    with pytest.raises(UsageError, match="did you mean 'decov'"):
        pair.change(replace(pair.setup, technique="decof"))
    pair.advance()  # and goes on as it was


@pytest.mark.parametrize("data", ["fashion-mini", "moons", "xor", "parity", "life"])
@pytest.mark.parametrize("kind", ["responses", "weights", "change"])
def test_every_set_can_be_shown(data, kind):
    pair = Pair(Setup(data=data, hidden=5, batch_size=4))
    pair.advance(2)
    view = json.loads(json.dumps(pair.view(kind)))  # plain numbers and words
    assert len(view["right"]["order"]) == len(view["right"]["responds_to"]) == 5
    assert ("regions" in view["left"]) == (pair.facts()["inputs"] == 2)


@pytest.mark.parametrize(
    "setup", [replace(SMALL, technique="decov", strength=0.3), Setup(hidden=5)]
)
def test_the_page_works_on_the_stand_in_for_a_gpu(on_standin, monkeypatch, setup):
    from tinydiv.runs import build

    monkeypatch.setattr(
        build.backend, "use", lambda name: "numpy"
    )  # a run would choose NumPy again
    pair = Pair(setup)
    pair.advance(3)
    for kind in ("responses", "weights", "change"):
        json.dumps(pair.view(kind))  # plain numbers, whatever the backend
    assert len(pair.gradient("right", 1)["whole"]) == pair.facts()["inputs"]
    pair.remove("left", 0)
    pair.scale("right", 2, 0.5)
    assert pair.change(replace(pair.setup, lr=0.1)) is False
    pair.advance(2)
    assert pair.step == 5


def test_like_neurons_stand_side_by_side():
    R = np.eye(5)
    R[0, 3] = R[3, 0] = 0.9
    R[1, 4] = R[4, 1] = -0.8
    order = by_similarity(R, np.array([True, True, False, True, True]))
    assert abs(order.index(0) - order.index(3)) == abs(order.index(1) - order.index(4)) == 1
    assert order[-1] == 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hidden": "many"}, "hidden must be a whole number, got 'many'"),
        ({"hidden": 1000}, "this page shows 1 to 64 hidden neurons"),
        ({"width": 3}, "this page has no setting 'width'"),
        ({"technique": "mine.py:Mine"}, "this page runs no code"),
        ({"data": "/etc/passwd"}, "own data are named to the command"),
        ({"data": "fashion-minni"}, "this page shows"),
    ],
)
def test_a_bad_set_up_is_one_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_setup(values)


# The server --------------------------------------------------------------------------------------


def request(server, method, path, body=None, **headers):
    """(status, body) of one request."""
    there = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    there.request(method, path, body, headers)
    reply = there.getresponse()
    found = reply.status, reply.read()
    there.close()
    return found


def reply_to(server, **body):
    """(status, reply) of one request of the page."""
    status, found = request(server, "POST", f"/{server.token}/api", json.dumps(body))
    return status, json.loads(found)


def test_the_page_starts_steps_and_closes(server):
    assert urlsplit(server.address).hostname == "127.0.0.1"
    assert request(server, "GET", f"/{server.token}/?data=moons")[0] == 200
    status, begun = reply_to(server, do="start", setup={"data": "moons", "hidden": "4"})
    assert (status, begun["setup"]["hidden"]) == (200, 4)
    session = begun["session"]
    assert reply_to(server, do="step", session=session, steps=7)[0] == 200
    assert reply_to(server, do="view", session=session)[1]["step"] == 7
    reply_to(server, do="run", session=session, running=True)
    for _ in range(200):
        if reply_to(server, do="view", session=session)[1]["step"] > 20:
            break
        time.sleep(0.05)
    else:
        pytest.fail("it did not run")
    _, other = reply_to(server, do="start", setup={"data": "xor"})  # a second page goes its own way
    assert reply_to(server, do="view", session=other["session"])[1]["step"] == 0
    reply_to(server, do="close", session=session)
    status, reply = reply_to(server, do="view", session=session)
    assert (status, "load it again" in reply["error"]) == (400, True)


def test_requests_from_other_hosts_and_pages_are_refused(server):
    port, page = server.server_address[1], f"/{server.token}/"
    assert request(server, "GET", "/")[0] == 404
    assert request(server, "GET", "/wrong/")[0] == 404
    assert request(server, "GET", page, Host="evil.example")[0] == 403
    assert request(server, "GET", page, Host=f"localhost:{port}")[0] == 403
    body = json.dumps({"do": "start"})
    assert request(server, "POST", f"{page}api", body, Origin="http://evil.example")[0] == 403
    assert request(server, "POST", f"{page}api", body, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert request(server, "POST", f"{page}api", body, Origin=f"http://127.0.0.1:{port}")[0] == 200
    assert request(server, "POST", "/wrong/api", body)[0] == 404
    assert request(server, "POST", f"{page}api", "x" * 70_000)[0] == 413
    assert request(server, "DELETE", page)[0] == 501


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[]",
        "[" * 5000,
        '{"do": "dance"}',
        '{"do": "start", "setup": 3}',
        '{"do": "start", "setup": {"lr": "x"}}',
        '{"do": "start", "setup": {"lr": NaN}}',
        '{"do": "start", "setup": {"technique": "decof"}}',
        '{"do": "start", "setup": {"batch_size": 1e99}}',
        '{"do": "step", "session": "none"}',
    ],
)
def test_bad_values_are_answered_by_one_sentence(server, body):
    status, found = request(server, "POST", f"/{server.token}/api", body)
    reply = json.loads(found)["error"]
    assert status == 400
    assert reply
    assert "\n" not in reply


def test_bad_values_of_a_page_that_runs(server):
    _, begun = reply_to(server, do="start", setup={"data": "xor", "hidden": 3})
    for body in (
        {"do": "gradient", "side": "middle", "neuron": 0},
        {"do": "gradient", "side": "left", "neuron": 3},
        {"do": "gradient", "side": "left", "neuron": "one"},
        {"do": "scale", "side": "left", "neuron": 0, "factor": 99},
        {"do": "step", "steps": -1},
        {"do": "change", "setup": {"seed": -1}},
    ):
        status, reply = reply_to(server, session=begun["session"], **body)
        assert (status, bool(reply["error"])) == (400, True), body
    assert reply_to(server, do="step", session=begun["session"])[0] == 200


def test_a_data_set_or_port_that_cannot_be_had_is_one_sentence_of_the_command(server, capsys):
    assert command.main(["--no-browser", "--data", "moon"]) == 2
    assert "did you mean 'moons'" in capsys.readouterr().err
    assert command.main(["--no-browser", "--data", "cubic"]) == 2
    assert "shows classes, and cubic has numbers to learn" in capsys.readouterr().err
    assert command.main(["--no-browser", "--port", "x"]) == 2
    taken = str(server.server_address[1])
    assert command.main(["--no-browser", "--port", taken]) == 1
    assert f"port {taken} cannot be used" in capsys.readouterr().err


# In a browser ------------------------------------------------------------------------------------


def until(driver, script, seconds=60):
    """Wait until an expression of the page is true."""
    for _ in range(seconds * 10):
        if "stopped" not in script and text(driver, "message").startswith("The server has stopped"):
            break
        if driver.execute_script(f"return {script}"):
            return
        time.sleep(0.1)
    pytest.fail(f"never true in the page: {script}; it shows {text(driver, 'message')!r}")


def text(driver, element):
    return driver.find_element("id", element).text


def click(driver, selector):
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def test_a_browser_runs_steps_opens_a_gradient_and_follows_a_link(server, browser):
    browser.get(server.address + "?data=moons&hidden=5&technique=decov&strength=0.5&seed=3")
    until(browser, "document.querySelectorAll('#right .neuron').length === 5")
    click(browser, "#step")
    until(browser, "document.getElementById('count').textContent.startsWith('step 1,')")
    click(browser, "#right .neuron:nth-child(3)")
    until(browser, "document.getElementById('open').open")
    shown = json.loads(browser.find_element("id", "open").get_attribute("data-numbers"))
    pair = Pair(Setup(data="moons", hidden=5, technique="decov", strength=0.5, seed=3))
    pair.advance()
    assert (
        shown["whole"] == pair.gradient("right", 2)["whole"]
    )  # those of Python, for the same seed
    click(browser, "#shut")
    click(browser, "#run")
    until(browser, "Number(document.getElementById('count').textContent.match(/\\d+/)[0]) > 30")
    click(browser, "#run")
    link = browser.current_url
    browser.get(server.address)
    until(browser, "document.querySelectorAll('#right .neuron').length === 16")
    browser.get(link)
    until(browser, "document.querySelectorAll('#right .neuron').length === 5")
    assert browser.find_element("id", "f-seed").get_attribute("value") == "3"
    assert text(browser, "message") == ""


def test_a_browser_follows_every_tour(server, browser):
    browser.get(server.address)
    until(browser, "document.querySelectorAll('#tours button').length === 4")
    for number in range(1, 5):
        click(browser, f"#tours button:nth-child({number})")
        for step in range(1, 5):
            seen = "document.getElementById('tour').textContent"
            done = "!document.querySelector('#tour button.main')?.disabled"
            ends = "document.getElementById('tour').classList.contains('hidden')"
            until(browser, f"({seen}.includes(', {step} of ') && {done}) || {ends}", 120)
            assert text(browser, "message") == "", number
            if browser.execute_script(f"return {ends}"):
                break
            click(browser, "#tour button.main")


def test_a_browser_shows_that_the_command_was_killed(browser):
    words = [sys.executable, "-m", "tinydiv.play", "--no-browser", "--data", "xor"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as playing:
        address = playing.stdout.readline().split()[-1]
        browser.get(address)
        until(browser, "document.querySelectorAll('#left .neuron').length > 0")
        playing.kill()
    click(browser, "#step")
    until(browser, "document.getElementById('message').textContent.includes('server has stopped')")


def test_ctrl_c_ends_it():
    words = [sys.executable, "-m", "tinydiv.play", "--no-browser", "--data", "xor"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as playing:
        assert playing.stdout.readline().startswith("tinydiv.play: http://127.0.0.1:")
        playing.send_signal(signal.SIGINT)
        assert playing.wait(20) == 130
        assert playing.stderr.read() == "tinydiv.play: stopped\n"


@pytest.mark.parametrize("width", [400, 1300])
def test_a_browser_shows_no_page_that_is_wider_than_its_window(server, browser, width):
    sizes = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    browser.get(server.address + "?hidden=64")
    until(browser, "document.querySelectorAll('#right .neuron').length === 64")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    unnamed = (
        "[...document.querySelectorAll('button, input, select')]"
        ".filter((e) => !e.textContent && !e.labels?.length && !e.ariaLabel)"
    )
    assert browser.execute_script(f"return {unnamed}.length") == 0
