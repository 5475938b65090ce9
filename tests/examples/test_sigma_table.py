"""The sigma table in small: what is tried, kept, written and drawn; and one row against NumPy."""

import importlib.util
import math
import re

import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of

ROWS = ["Fixed(1)", "Fixed(tuned)", "PerElement()", "Shared()", "Optimal()"]


@pytest.fixture
def example(monkeypatch, tmp_path):
    """The script as a module, for images of 6x5 pixels; some are in tmp_path."""
    module = module_of("sigma_table")
    small = {"HIDDEN": 8, "COPIES": 2, "HELD_OUT": 20}
    for name, value in small.items():
        monkeypatch.setattr(module, name, dict.fromkeys(module.EPOCHS, value))
    monkeypatch.setattr(module, "BATCH", 20)
    monkeypatch.setattr(module, "SCORED", 10)
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 200, (100, 1, 1)) + rng.integers(0, 56, (100, 6, 5))
    np.savez(tmp_path / "freyfaces.npz", x=shades.astype("uint8"))
    np.savez(tmp_path / "mnist.npz", x_train=shades[:80].astype("uint8"), x_test=shades[80:].astype("uint8"))
    return module


def pretend(example, monkeypatch, best_sigma):
    """Fits take no time, and the best fixed sigma is this one. Returns the scales that were fitted."""
    fitted = []

    def fit(data, scale, args):
        fitted.append(scale)
        sigma = getattr(scale, "sigma", best_sigma)
        return sigma, {"validation_elbo": -abs(math.log(sigma / best_sigma))}

    def score(sigma, test, args):
        draws = np.random.default_rng(0).uniform(size=(example.MEANS, *test.shape[1:]))
        scores = dict.fromkeys(["elbo", "kl", "some_elbo"], 12.34)
        more = {"some_log_likelihood": np.arange(10.0), "sigma": np.array([sigma, sigma])}
        return {**scores, **more, "means": draws, "draws": draws[: example.DRAWS]}

    monkeypatch.setattr(example, "fit", fit)
    monkeypatch.setattr(example, "score", score)
    return fitted


def cells(text):
    """The table's rows: the cells by the decoder's name."""
    lines = re.findall(r"^\| `(.+?)` \| (.+) \|$", text, re.M)
    return {name: line.split(" | ") for name, line in lines}


def numpy_bounds(vae, x, rng, num_draws):
    """Draws of log p(x|z) + log p(z) - log q(z|x) and of log p(x|z), `[S, N]`, and the KL in closed form, by NumPy."""
    posterior, sigma = vae.encode(x), float(vae.decoder.layers[-1].scale.value())
    mean, deviation = np.asarray(posterior.mean(), "float64"), np.asarray(posterior.stddev(), "float64")
    noise = rng.standard_normal((num_draws, *mean.shape))
    z = mean + deviation * noise
    decoded = np.asarray(vae.decode(z.astype("float32")).mean(), "float64")
    errors = ((x - decoded) ** 2).sum((-2, -1))
    likelihood = -x[0].size * math.log(sigma * math.sqrt(2 * math.pi)) - errors / (2 * sigma**2)
    weights = likelihood + (0.5 * (noise**2 - z**2) + np.log(deviation)).sum(-1)
    kl = 0.5 * (mean**2 + deviation**2 - 1 - 2 * np.log(deviation)).sum(-1)
    return weights, likelihood, kl


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_and_its_new_row_is_right(example, monkeypatch, tmp_path, capsys):
    real = example.fit, example.score
    arguments = ["--dataset", "freyfaces", "--data-dir", str(tmp_path), "--out", str(tmp_path / "made" / "here")]
    arguments += ["--epochs", "3", "--num-samples", "300"]
    pretend(example, monkeypatch, best_sigma=0.1)
    example.main(arguments)
    (shared,) = (tmp_path / "made/here/fits").glob("*Shared()*.npz")
    shared.unlink()

    fitted = []
    monkeypatch.setattr(example, "fit", lambda *given: fitted.append(real[0](*given)) or fitted[-1])
    monkeypatch.setattr(example, "score", real[1])
    example.main(arguments)
    ((vae, validation),) = fitted
    assert shared.exists()
    assert f"validation ELBO {validation['validation_elbo']:.1f}" in capsys.readouterr().out

    text = (tmp_path / "made/here/table.md").read_text()
    assert "## Frey Faces" in text and "MNIST" not in text
    assert list(cells(text)) == ROWS
    assert cells(text)["Fixed(1)"][1] == "12.3", "what was kept"
    sigma, elbo, kl, bits, some_elbo, log_p, paper = cells(text)["Shared()"]
    assert float(sigma) == pytest.approx(float(vae.decoder.layers[-1].scale.value()), abs=1e-4)
    assert paper == "", "the paper has no Frey Faces"
    test = example.load("freyfaces", tmp_path, 0).test
    for printed, x in ((elbo, test), (some_elbo, test[:10])):
        weights, likelihood, exact_kl = numpy_bounds(vae, x, np.random.default_rng(1), 2000)
        bounds = likelihood - exact_kl
        if x is test:
            assert float(kl) == pytest.approx(exact_kl.mean(), abs=0.051)
        # The script's is one such draw: six standard deviations, a false alarm in 5e8 runs; a decimal is printed.
        assert float(printed) == pytest.approx(bounds.mean(), abs=6 * bounds.mean(1).std() + 0.05)
    assert float(bits) == pytest.approx(8 - float(elbo) / (30 * math.log(2)), abs=0.01)
    by_image = np.log(np.exp(weights - weights.max(0)).mean(0)) + weights.max(0)
    mean, error = map(float, log_p.split(" ± "))
    assert mean == pytest.approx(by_image.mean(), abs=0.3)
    assert error == pytest.approx(by_image.std(ddof=1) / math.sqrt(10), rel=0.1, abs=0.06)

    picture = imread(tmp_path / "made/here/samples.png")[..., :3]
    assert 300 <= picture.shape[0] < picture.shape[1] <= 1600
    assert picture.std() > 0.05, "all but blank"
    assert len(np.unique(picture)) > 50


def test_both_data_sets(example, monkeypatch, tmp_path):
    fitted = pretend(example, monkeypatch, best_sigma=0.03)
    example.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    text = (tmp_path / "out/table.md").read_text()
    assert text.index("## MNIST") < text.index("## Frey Faces")
    mnist = cells(text[: text.index("## Frey Faces")])
    assert [mnist[name][-1] for name in ROWS] == ["-740.5", "796.2", "2895.0", "896.1", ""]
    assert mnist["Fixed(1)"][5] == f"4.5 ± {np.arange(10).std(ddof=1) / math.sqrt(10):.1f}"
    both = imread(tmp_path / "out/samples.png")
    done = len(fitted)

    # Again, it is all there; of one data set too. With another number of samples, nothing is.
    for arguments in ([], ["--dataset", "mnist"]):
        example.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out"), *arguments])
    assert len(fitted) == done
    assert imread(tmp_path / "out/samples.png").shape[0] < both.shape[0]
    example.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out"), "--num-samples", "7"])
    assert len(fitted) == 2 * done
    assert not list(tmp_path.glob("out/fits/*.partial"))


@pytest.mark.parametrize("best_sigma", [0.012, 0.05, 0.09, 0.13, 0.8])
def test_the_search_finds_the_nearest_quarter_of_an_octave(example, monkeypatch, tmp_path, best_sigma):
    fitted = pretend(example, monkeypatch, best_sigma)
    args = example.parse_arguments(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    tried = example.tune(example.load("freyfaces", tmp_path, 0), args)
    assert abs(math.log2(max(tried, key=tried.get) / best_sigma)) <= 1 / 8 + 1e-9
    assert len(fitted) == len(tried) <= 12


@pytest.mark.parametrize("name", ["mnist", "freyfaces"])
def test_no_image_is_in_two_sets(example, tmp_path, name):
    data = example.load(name, tmp_path, seed=1)
    levels = {part: np.floor(getattr(data, part) * 256) for part in ("train", "validation", "test")}
    assert [len(each) for each in levels.values()] == [120, 20, 20]
    unique = np.concatenate([np.unique(each, axis=0) for each in levels.values()])
    with np.load(tmp_path / f"{name}.npz") as file:
        originals = np.concatenate(list(file.values()))
    order = [np.lexsort(each.reshape(100, -1).T) for each in (unique, originals)]
    np.testing.assert_array_equal(unique[order[0]], originals[order[1]])
    noise = data.train * 256 - levels["train"]
    assert 0 <= noise.min() < 0.01 < 0.99 < noise.max() < 1
    assert np.abs(noise[:60] - noise[60:]).mean() > 0.3, "each copy has noise of its own"
    if name == "mnist":
        with np.load(tmp_path / "mnist.npz") as file:
            test, originals = levels["test"], file["x_test"]
        assert (test.sum((1, 2)) != originals.sum((1, 2))).any(), "in another order"
        np.testing.assert_array_equal(np.sort(test.sum((1, 2))), np.sort(originals.sum((1, 2), dtype="float64")))


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("mnist", None, r"no mnist to train on: .*No such file.*\n.*x_train and x_test(.|\n)*--data-dir FOLDER"),
        ("freyfaces", None, r"no freyfaces to train on: .*No such file(.|\n)*freyfaces\.npz(.|\n)*frey_rawface\.mat"),
        ("freyfaces", {"y": np.zeros((9, 6, 5), "uint8")}, "x is not a file in the archive"),
        ("freyfaces", {"x": np.zeros((9, 30), "uint8")}, r"received uint8 \[9, 30\]"),
        ("mnist", dict.fromkeys(["x_train", "x_test"], np.zeros((9, 6, 5))), r"received float64 \[9, 6, 5\]"),
    ],
)
def test_missing_data_stops_before_any_work(example, monkeypatch, tmp_path, name, arrays, message):
    (tmp_path / f"{name}.npz").unlink()
    if arrays:
        np.savez(tmp_path / f"{name}.npz", **arrays)
    fitted = pretend(example, monkeypatch, best_sigma=0.1)
    with pytest.raises(SystemExit, match=message):
        example.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not fitted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: expected an integer from 1 to 2**31 - 1; received: 0"),
        (["--num-samples", "-3"], "--num-samples: expected an integer from 1 to 2**31 - 1; received: -3"),
        (["--seed", "-1"], "--seed: expected an integer from 0 to 2**31 - 1; received: -1"),
        (["--dataset", "cifar"], "--dataset: invalid choice: 'cifar'"),
        (["--out", __file__], "--out: cannot make the folder"),
    ],
)
def test_bad_arguments(example, monkeypatch, capsys, tmp_path, arguments, message):
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        example.parse_arguments(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before, "stopped before any work"


def test_missing_matplotlib(example, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        example.parse_arguments(["--out", str(tmp_path / "out")])
    assert 'pip install "keras_vae[examples]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
