"""The quick start, run as a person runs it: what it prints and writes, and what it says when it cannot run."""

import importlib.util
import math
import os
import pathlib
import re
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of

import keras_vae  # noqa: F401 - registers the classes that load_model needs

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "quickstart.py"
PICTURES = ["reconstructions.png", "generated.png", "training.png", "latent_space.png"]
NUMBER = r"(-?\d+\.\d+)"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def printed_scores(output):
    """The table's numbers by name, and the bits that blind guessing takes."""
    names = ["ELBO", "NLL", "KL", "log p(x)", "bits per pixel", "sigma"]
    scores = {name: float(re.search(rf"^  {re.escape(name)} +{NUMBER} ", output, re.M).group(1)) for name in names}
    return scores, float(re.search(rf"; {NUMBER} if every level", output).group(1))


def check_scores(output, pixels, levels):
    scores, blind_bits = printed_scores(output)
    assert all(math.isfinite(score) for score in scores.values())
    assert scores["KL"] > 0
    assert scores["sigma"] > 0
    # Two decimals are printed.
    assert scores["ELBO"] == pytest.approx(-(scores["NLL"] + scores["KL"]), abs=0.02)
    assert scores["bits per pixel"] == pytest.approx(-scores["ELBO"] / (pixels * math.log(2)), abs=0.002)
    assert blind_bits == pytest.approx(math.log2(levels), abs=0.001)
    return scores


def check_written(folder, output):
    for name in [*PICTURES, "vae.keras"]:
        assert f"  {folder / name}" in output.splitlines()
    for name in PICTURES:
        picture = imread(folder / name)[..., :3]
        height, width, _ = picture.shape
        assert 200 <= height <= 1200 and 600 <= width <= 1600, name
        assert picture.std() > 0.05, f"{name} is all but blank"
        assert len(np.unique(picture)) > 50, f"{name} has no shades"


@pytest.fixture(scope="module")
def quickstart():
    """The script as a module, for what needs no process of its own."""
    return module_of("quickstart")


def test_digits(quickstart, tmp_path):
    folder = tmp_path / "made" / "here"
    done = run("--epochs", 3, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "Epoch 3/3" in done.stdout
    assert "297 test images" in done.stdout
    scores = check_scores(done.stdout, pixels=64, levels=17)
    # Measured: 0.16 apart, and the ELBO, of one draw an image, with standard deviation 0.07.
    assert scores["log p(x)"] > scores["ELBO"] - 0.3
    # What one Gaussian for all pixels takes, whose sigma is that of the pixels.
    data = quickstart.load_digits(seed=0)
    assert scores["bits per pixel"] < math.log2(data.train.std() * math.sqrt(2 * math.pi * math.e))
    check_written(folder, done.stdout)

    # The file loads in another process too, and scores the same test set as printed.
    assert float(re.search(r"differ by at most (\S+) grey levels", done.stdout).group(1)) < 1e-3
    vae = keras.saving.load_model(folder / "vae.keras")
    elbo = vae.evaluate(data.test, verbose=0, return_dict=True)["elbo"]
    # One draw of z an image each time: measured standard deviation 0.07, so 1 is 10 of the difference's.
    assert elbo == pytest.approx(scores["ELBO"], abs=1)


def test_digits_are_held_out(quickstart):
    """Every digit is in one of the three sets: 1,350 to train on, 150 to validate, 297 to test."""
    from sklearn.datasets import load_digits

    originals = load_digits().data
    data = quickstart.load_digits(seed=0)
    sources = []
    for x in (data.train, data.validation, data.test):
        grey_levels = x.reshape(len(x), -1) - 0.5
        distances = (grey_levels**2).sum(1)[:, None] - 2 * grey_levels @ originals.T + (originals**2).sum(1)
        assert distances.min(1).max() <= 64 / 4  # noise in [0, 1): at most 1/2 a pixel from the grey level and a half
        sources.append(np.unique(distances.argmin(1)))
    assert [len(source) for source in sources] == [1350, 150, 297]
    assert len(np.unique(np.concatenate(sources))) == 1797
    np.testing.assert_array_equal(np.sort(data.test_labels), np.sort(load_digits().target[sources[2]]))


@pytest.mark.slow
def test_mnist_from_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (80, 28, 28), "uint8"),
        "y_train": rng.integers(0, 10, 80, "uint8"),
        "x_test": rng.integers(0, 256, (30, 28, 28), "uint8"),
        "y_test": np.arange(30, dtype="uint8") % 10,
    }
    np.savez(tmp_path / "mnist.npz", **arrays)
    done = run("--data", "mnist", "--data-dir", tmp_path, "--epochs", 1, "--out", tmp_path / "out", "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert "30 test images" in done.stdout
    check_scores(done.stdout, pixels=784, levels=256)
    check_written(tmp_path / "out", done.stdout)


def test_mnist_without_a_network(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # never listens, so that nothing leaves the machine
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        proxies = {"https_proxy": proxy, "HTTPS_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}
        done = run("--data", "mnist", "--out", tmp_path / "out", KERAS_HOME=str(tmp_path / "home"), **proxies)
    assert done.returncode == 1
    assert "no MNIST to train on" in done.stderr
    assert "mnist.npz" in done.stderr
    assert "--data mnist --data-dir FOLDER" in done.stderr
    assert "Traceback" not in done.stderr


def test_mnist_folder_without_the_file(quickstart, tmp_path):
    with pytest.raises(SystemExit, match=r"no MNIST to train on: .*No such file.*mnist\.npz") as error:
        quickstart.load_mnist(tmp_path, seed=0)
    assert str(tmp_path) in str(error.value)
    assert "--data mnist --data-dir FOLDER" in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((5, 28, 28), "uint8")}, "x_test"),
        (dict.fromkeys(["x_train", "x_test", "y_test"], np.zeros((5, 28, 28))), r"expected uint8 .* received float64"),
        (dict.fromkeys(["x_train", "x_test", "y_test"], np.zeros((5, 784), "uint8")), r"received uint8 \[5, 784\]"),
    ],
)
def test_mnist_file_of_another_kind(quickstart, tmp_path, arrays, message):
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(SystemExit, match=message):
        quickstart.load_mnist(tmp_path, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: expected an integer of at least 1; received: 0"),
        (["--epochs", "two"], "--epochs: invalid int value: 'two'"),
        (["--seed", "-1"], "--seed: expected an integer from 0 to 2**32 - 1; received: -1"),
        (["--data", "cifar"], "--data: invalid choice: 'cifar'"),
        (["--data-dir", "."], "--data-dir: expected only with --data mnist"),
        (["--out", str(SCRIPT)], "--out: cannot make the folder"),
    ],
)
def test_bad_arguments(quickstart, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["quickstart.py", *arguments])
    with pytest.raises(SystemExit) as error:
        quickstart.parse_arguments()
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "stopped before any work"


def test_missing_packages(quickstart, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "--out", str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        quickstart.parse_arguments()
    assert 'pip install "keras_vae[examples]"' in capsys.readouterr().err
