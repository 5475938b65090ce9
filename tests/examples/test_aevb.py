"""The AEVB run in small: what it maximises, from which weights, by which steps; and that it may be killed."""

import csv
import importlib.util
import json
import math

import keras
import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of

from keras_vae import backend


@pytest.fixture(scope="module")
def aevb():
    return module_of("aevb")


@pytest.fixture
def folder(tmp_path):
    """Both data sets in small: grey blobs, of which no two are alike."""
    rng = np.random.default_rng(0)

    def blobs(number, height, width):
        y, x = rng.uniform(0.2, 0.8, (2, number, 1, 1)) * [[[[height]]], [[[width]]]]
        squares = (np.arange(height)[:, None] - y) ** 2 + (np.arange(width) - x) ** 2
        return (220 * np.exp(-squares / 30)).astype("uint8")

    np.savez(tmp_path / "mnist.npz", x_train=blobs(170, 28, 28), x_test=blobs(44, 28, 28))
    np.savez(tmp_path / "freyfaces.npz", x=blobs(220, 28, 20))
    return tmp_path


@pytest.fixture
def short(aevb, monkeypatch):
    """Stops so near that a run of seconds passes several; and as many training images scored as test images."""
    near = {"TRIAL": 2_500, "STRIDE": 2_500, "SECONDS": 0, "POINTS": [5_000, 7_500], "SCORED": 44}
    for name, value in near.items():
        monkeypatch.setattr(aevb, name, value)


@pytest.fixture
def quick_to_compile(monkeypatch):
    """Steps without XLA: a fourth of the wait before the first."""
    monkeypatch.setattr(backend, "xla_choice", lambda layers: (False, "for a test"))


def small(aevb, dataset="mnist", step_size=0.02):
    image_shape = (28, 28) if dataset == "mnist" else (28, 20)
    return aevb.build(dataset, 3, 16, step_size, 0, image_shape, num_train=200)


def weights_of(file):
    vae = keras.saving.load_model(file)
    return [np.asarray(variable) for variable in (*vae.trainable_variables, *vae.optimizer.variables)]


def test_a_figure(aevb, folder, short, quick_to_compile, monkeypatch, capsys):
    out = folder / "made" / "here"
    arguments = ["--dataset", "freyfaces", "--data-dir", str(folder), "--out", str(out), "--latents", "2"]
    arguments += ["--hidden", "8", "--samples", "7500"]
    monkeypatch.setattr(aevb, "STEP_SIZES", (0.01, 0.1))
    (panel,) = aevb.main(arguments)
    printed = capsys.readouterr().out
    assert "Frey Face: 176 images to train on, 44 to test on" in printed
    assert printed.count(" left; bound: train ") == 2, "a line a point"
    assert set(panel.trials) == {"0.01", "0.1"}
    assert panel.trials[str(panel.step_size)] == max(panel.trials.values())
    assert [point["samples"] for point in panel.curve] == [5_000, 7_500]
    for point in panel.curve:
        assert 0 < point["train"] < 1600 and 0 < point["test"] < 1600

    picture = imread(out / "aevb_freyfaces.png")[..., :3]
    assert 200 < picture.shape[0] < 600 and picture.std() > 0.05
    with (out / "aevb_freyfaces.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test"]) for row in rows] == pytest.approx([point["test"] for point in panel.curve], abs=1e-3)
    table = (out / "aevb_freyfaces.md").read_text()
    assert table in printed and f"| {panel.curve[-1]['train']:.1f}, {panel.curve[-1]['test']:.1f} |" in table

    # Once more: nothing is trained, and all is drawn again.
    files = [out / f"aevb_freyfaces.{kind}" for kind in ("png", "md", "csv")]
    for file in files:
        file.unlink()
    monkeypatch.setattr(aevb, "train", None)
    aevb.main(arguments)
    assert all(file.exists() for file in files)

    # With other settings it would be another curve.
    with pytest.raises(SystemExit):
        aevb.main([*arguments, "--seed", "1"])
    assert "holds a run of other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_ends_as_one_never_stopped(aevb, folder, short, quick_to_compile, monkeypatch):
    def run(out):
        arguments = ["--dataset", "mnist", "--data-dir", str(folder), "--out", str(out), "--latents", "2"]
        (panel,) = aevb.main([*arguments, "--hidden", "8", "--samples", "7500", "--step-size", "0.02"])
        return [(point["samples"], point["train"], point["test"]) for point in panel.curve]

    whole = run(folder / "whole")
    assert [samples for samples, *_ in whole] == [5_000, 7_500]
    parts, model = folder / "parts", folder / "parts" / "mnist_2.keras"

    def killed_replace(path, save):
        if path == model and (parts / "mnist_2.json").exists():  # with a point of the curve that no model is at
            path.with_stem("mnist_2_unfinished").write_bytes(b"half of it")
            raise KeyboardInterrupt
        replace(path, save)

    def killed_train(vae, x, start, stop, seed):
        train(vae, x, start, stop, seed)
        if start == 5_000:
            raise KeyboardInterrupt

    replace, train = aevb.replace, aevb.train
    for name, killed, samples in [("replace", killed_replace, 2_500), ("train", killed_train, 5_000)]:
        with monkeypatch.context() as patch:
            patch.setattr(aevb, name, killed)
            with pytest.raises(KeyboardInterrupt):
                run(parts)
        assert 100 * int(keras.saving.load_model(model).optimizer.iterations) == samples
    assert run(parts) == whole
    for one, other in zip(weights_of(folder / "whole" / "mnist_2.keras"), weights_of(model), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dataset", ["mnist", "freyfaces"])
def test_the_loss_is_the_paper_s(aevb, dataset):
    """-ELBO + |theta|^2 / (2N), with every weight in it; means in (0, 1), and a variance of each element's own."""
    vae = small(aevb, dataset)
    x = np.random.default_rng(0).uniform(size=(7, 28, 28 if dataset == "mnist" else 20)).astype("float32")
    terms = vae(x)
    assert len(vae.trainable_variables) == 8
    square = sum(np.sum(np.square(variable, dtype="float64")) for variable in vae.trainable_variables)
    elbo = -np.mean(terms["nll"] + terms["kl"])
    assert float(sum(vae.losses)) == pytest.approx(-elbo + square / (2 * 200), rel=1e-6)
    assert square / (2 * 200) > 0.1 * 16 * 28 * 28 / 200 / 100  # not lost in the tolerance
    vae.compile(vae.optimizer, run_eagerly=True)
    scores = vae.evaluate(x, verbose=0, return_dict=True)
    assert scores["elbo"] == pytest.approx(-scores["nll"] - scores["kl"], rel=1e-6)
    assert scores["loss"] == pytest.approx(-scores["elbo"] + square / (2 * 200), rel=1e-6)

    z = 30 * np.random.default_rng(1).normal(size=(50, 3)).astype("float32")
    likelihood = vae.decode(z)
    assert np.all(np.asarray(likelihood.mean()) >= 0) and np.all(np.asarray(likelihood.mean()) <= 1)
    if dataset == "freyfaces":
        assert np.asarray(likelihood.stddev()).std(axis=(0, 1, 2)) > 0.1


def test_initial_weights(aevb):
    """N(0, 0.01), biases too: within 5 standard errors of the variance, sqrt(2 / n)."""
    vae = small(aevb)
    vae(np.zeros((1, 28, 28), "float32"))
    for variable in vae.trainable_variables:
        values = np.asarray(variable)
        assert np.mean(values**2) / 0.01 == pytest.approx(1, abs=5 * math.sqrt(2 / values.size)), variable.path
    values = np.concatenate([np.ravel(variable) for variable in vae.trainable_variables])
    assert np.unique(values).size > 0.99 * values.size, "no two layers start alike"


def test_adagrad_is_bare(aevb):
    """The first step moves each weight by the step size, g / sqrt(g^2): those of pixels without any ink too."""
    vae = small(aevb, step_size=0.02)
    x = np.zeros((100, 28, 28), "float32")
    x[:, 10:15, 10:15] = np.random.default_rng(0).uniform(size=(100, 5, 5))
    vae(x)
    before = [np.asarray(variable) for variable in vae.trainable_variables]
    vae.compile(vae.optimizer, jit_compile=False)
    vae.fit(x, batch_size=100, verbose=0)
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        np.testing.assert_allclose(np.abs(np.asarray(variable) - old), 0.02, rtol=1e-3)


class Recorder:
    """What `train` needs of a VAE: keeps what it is shown."""

    def __init__(self):
        self.seed_generator = self.state = self
        self.seen, self.seeds = [], []

    def assign(self, seed):
        self.seeds.append(tuple(seed))

    def fit(self, x, batch_size, shuffle, verbose):
        assert batch_size == 100 and shuffle is False
        self.seen.extend(x)


def test_epochs_are_of_every_image_however_they_are_cut(aevb):
    whole, parts = Recorder(), Recorder()
    x = np.arange(130)
    aevb.train(whole, x, 0, 500, seed=3)
    for start, stop in [(0, 100), (100, 300), (300, 500)]:
        aevb.train(parts, x, start, stop, seed=3)
    assert parts.seen == whole.seen and len(whole.seen) == 500
    epochs = [whole.seen[start : start + 130] for start in (0, 130, 260)]
    assert all(sorted(epoch) == list(x) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert len(set(parts.seeds)) == 3, "noise of its own for each part"


def test_points(aevb):
    assert all(point % aevb.BLOCK == 0 for point in aevb.POINTS) and aevb.STRIDE % aevb.BLOCK == 0
    assert aevb.BLOCK % aevb.M == 0 and aevb.TRIAL % aevb.BLOCK == 0
    stops = aevb.stops(100_000, 1_002_500)
    assert stops[:3] == [125_000, 150_000, 160_000] and stops[-2:] == [1_000_000, 1_002_500]
    assert aevb.stops(1_002_500, 1_002_500) == []


def test_a_bound_that_is_no_number_is_not_the_best(aevb, folder, monkeypatch):
    args, (panel,) = aevb.parse_arguments(["--dataset", "mnist", "--out", str(folder / "out"), "--latents", "2"])
    bounds = iter([math.nan, -200.0, -math.inf])
    monkeypatch.setattr(aevb, "build", lambda **settings: None)
    monkeypatch.setattr(aevb, "train", lambda *_: None)
    monkeypatch.setattr(aevb, "bound", lambda *_: next(bounds))
    panel.choose_step_size(np.zeros((2, 28, 28)))
    assert panel.step_size == 0.02
    assert json.loads((args.out / "mnist_2.json").read_text())["step_size"] == 0.02


def test_frey_faces_are_held_out(aevb, folder):
    x_train, x_test = aevb.load("freyfaces", folder, seed=1)
    both = np.concatenate([x_train, x_test])
    assert (len(x_train), len(x_test), both.dtype) == (176, 44, np.float32)
    originals = np.load(folder / "freyfaces.npz")["x"].reshape(220, -1)
    found = np.rint(255 * both).astype("uint8").reshape(220, -1)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], originals[np.lexsort(originals.T)])
    assert not np.array_equal(found[:176], originals[:176]), "neighbours in the film are in both"


@pytest.mark.parametrize(
    ("dataset", "arrays", "message"),
    [
        ("mnist", {"x_train": np.zeros((5, 28, 28), "uint8")}, r"(?s)no MNIST data.*x_test.*--data-dir FOLDER"),
        ("freyfaces", {"x": np.zeros((5, 28, 20))}, r"(?s)no Frey Face data.*expected uint8 .* received float64"),
        ("freyfaces", {"x": np.zeros((5, 560), "uint8")}, r"received uint8 \[5, 560\]"),
        ("freyfaces", None, r"(?s)No such file.*freyfaces\.npz.*frey_rawface\.mat.*numpy\.savez"),
        ("mnist", None, r"(?s)No such file.*mnist\.npz.*keras\.datasets\.mnist"),
    ],
)
def test_data_of_another_kind(aevb, tmp_path, dataset, arrays, message):
    if arrays is not None:
        np.savez(tmp_path / f"{dataset}.npz", **arrays)
    with pytest.raises(SystemExit, match=message):
        aevb.load(dataset, tmp_path, seed=0)


def test_frey_faces_without_a_folder(aevb):
    with pytest.raises(SystemExit, match="expected --data-dir FOLDER"):
        aevb.load("freyfaces", None, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "1001"], "--samples: expected a positive multiple of 2500; received: 1001"),
        (["--samples", "nan"], "--samples: expected a positive multiple of 2500; received: nan"),
        (["--samples", "-2500"], "--samples: expected a positive multiple of 2500; received: -2500"),
        (["--latents", "3", "0"], "--latents: expected an integer of at least 1; received: 0"),
        (["--hidden", "0"], "--hidden: expected an integer of at least 1; received: 0"),
        (["--step-size", "0"], "--step-size: expected a positive number; received: 0.0"),
        (["--seed", "-1"], "--seed: expected an integer from 0 to 2**32 - 1; received: -1"),
        (["--dataset", "cifar"], "--dataset: invalid choice: 'cifar'"),
        (["--out", __file__], "--out: "),
    ],
)
def test_bad_arguments(aevb, capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        aevb.main(["--dataset", "mnist", *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "stopped before any work"


def test_without_matplotlib(aevb, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        aevb.parse_arguments(["--dataset", "mnist", "--out", str(tmp_path)])
    assert 'pip install "keras_vae[examples]"' in capsys.readouterr().err
