"""The row that libraries publish, in small: the model and the schedule that are said, and what is kept of a run."""

import json

import keras
import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of

from keras_vae import backend, objectives


@pytest.fixture(scope="module")
def benchmark():
    return module_of("mnist_benchmark")


@pytest.fixture
def folder(tmp_path):
    """An MNIST of 200 images to train on, beside the 10,000 that validate."""
    pixels = np.random.default_rng(0).integers(0, 256, (10_200, 28, 28), dtype="uint8")
    np.savez(tmp_path / "mnist.npz", x_train=pixels, x_test=pixels[:30])
    return tmp_path


@pytest.fixture
def small(benchmark, monkeypatch):
    """Small networks, whose steps are compiled without XLA: a fourth of the wait before the first."""
    monkeypatch.setattr(backend, "xla_choice", lambda layers: (False, "for a test"))
    for name, value in {"HIDDEN": 6, "LATENTS": 3}.items():
        monkeypatch.setattr(benchmark, name, value)


def test_a_run(benchmark, folder, small, capsys, monkeypatch):
    out = folder / "made" / "here"
    arguments = ["--data-dir", str(folder), "--out", str(out), "--quick"]
    seen = []
    monkeypatch.setattr(benchmark, "score", lambda vae, x, n, score=benchmark.score: seen.append(x) or score(vae, x, n))
    run = benchmark.main([*arguments, "--epochs", "1"])
    run = benchmark.main(arguments)  # goes on
    assert [result["epochs"] for result in run.results] == [1, 3]
    assert int(run.vae.optimizer.iterations) == 3 * 2 and len(run.curve) == 3
    assert json.loads((out / "elbo.json").read_text())["results"] == run.results
    np.testing.assert_array_equal(seen[0], seen[1])  # the same zeros and ones each time
    assert set(np.unique(seen[0])) == {0, 1}
    losses = [row["val_loss"] for row in run.curve]
    assert run.results[-1]["best_epoch"] == 1 + losses.index(min(losses))

    benchmark.main([*arguments, "--objective", "iwae", "--epochs", "1"])
    table = (out / "table.md").read_text()
    result = run.results[-1]
    cells = (
        f"| `elbo` | 3 | {result['best_epoch']} | 20 | {result['nll']:.2f} ± {result['standard_error']:.2f} | 89.78 |"
    )
    assert cells in table and "| `iwae` | 1 | 1 | 20 |" in table
    for name in ("curve", "samples_elbo", "samples_iwae"):
        assert imread(out / f"{name}.png")[..., :3].std() > 0.03

    # Once more: nothing is trained or scored, and all is drawn again.
    (out / "table.md").unlink()
    monkeypatch.setattr(benchmark, "score", None)
    benchmark.main(arguments)
    assert (out / "table.md").read_text() == table
    with pytest.raises(SystemExit, match="run of other settings"):
        benchmark.main([*arguments, "--seed", "1"])


def test_the_weights_of_the_best_epoch_are_scored(benchmark, folder, small, monkeypatch):
    """Two runs whose validation losses are made to rise, so that the first epoch is the best."""
    scored = []

    def score(vae, x, num_samples):
        scored.append([np.asarray(variable) for variable in vae.trainable_variables])
        return {"nll": 1.0, "standard_error": 1.0, "num_samples": 1, "elbo": -1.0, "kl": 1.0, "active_units": 1}

    monkeypatch.setattr(benchmark, "score", score)
    fit = keras.Model.fit
    losses = iter([5.0, 5.0, 6.0, 7.0])

    def rising(self, *args, **kwargs):
        history = fit(self, *args, **kwargs)
        history.history["val_loss"] = [next(losses)]
        return history

    monkeypatch.setattr(keras.Model, "fit", rising)
    for name, epochs in (("one", 1), ("three", 3)):
        arguments = ["--data-dir", str(folder), "--out", str(folder / name), "--quick"]
        run = benchmark.main([*arguments, "--epochs", str(epochs)])
        assert run.results[-1]["best_epoch"] == 1
    for first, best, last in zip(*scored, run.vae.trainable_variables, strict=True):
        np.testing.assert_array_equal(first, best)
        assert np.any(best != np.asarray(last))
    assert run.epochs == 3, "the run goes on from where it is"


def test_the_model(benchmark):
    vae = benchmark.build("elbo", 0, 50_000)
    vae(np.zeros((1, 28, 28), "float32"))
    shapes = [tuple(variable.shape) for variable in vae.trainable_variables]
    assert shapes == [(784, 400), (400,), (400, 80), (80,), (40, 400), (400,), (400, 784), (784,)]
    assert vae.optimizer.epsilon == 1e-8


def test_learning_rates(benchmark):
    """The first 200 epochs, then as far as the 350th, then as far as the 500th."""
    schedule = benchmark.schedule(500)
    for step, power in [(0, 0), (199 * 500 + 499, 0), (200 * 500, 1), (349 * 500 + 499, 1), (350 * 500, 2)]:
        rate = float(schedule(keras.ops.convert_to_tensor(step, "int64")))
        assert rate == pytest.approx(1e-4 * 10 ** (-power / 5), rel=1e-6)


def test_objectives(benchmark):
    for name, make in benchmark.OBJECTIVES.items():
        assert isinstance(make(), objectives.Objective), name
    assert benchmark.OBJECTIVES["iwae"]().num_samples == 50
    assert set(benchmark.PUBLISHED) <= set(benchmark.OBJECTIVES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: expected an integer from 1 to 2**31 - 1; received: 0"),
        (["--num-samples", "0"], "--num-samples: expected an integer from 1"),
        (["--objective", "gan"], "--objective: invalid choice: 'gan'"),
        (["--out", __file__], "--out: cannot make the folder"),
    ],
)
def test_bad_arguments(benchmark, capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "stopped before any work"
