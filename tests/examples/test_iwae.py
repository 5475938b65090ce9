"""The IWAE paper's run in small: the model and the schedule that are said, and stages that are gone on with."""

import json

import keras
import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of

from keras_vae import backend, objectives


@pytest.fixture(scope="module")
def iwae():
    return module_of("iwae")


@pytest.fixture
def folder(tmp_path):
    """An MNIST of 40 images to train on, beside the 400 that validate."""
    pixels = np.random.default_rng(0).integers(0, 256, (470, 28, 28), dtype="uint8")
    np.savez(tmp_path / "mnist.npz", x_train=pixels[:440], x_test=pixels[440:])
    return tmp_path


@pytest.fixture
def small(iwae, monkeypatch):
    """Small networks, whose steps are compiled without XLA: a fourth of the wait before the first."""
    monkeypatch.setattr(backend, "xla_choice", lambda layers: (False, "for a test"))
    for name, value in {"HIDDEN": 6, "LATENTS": 3}.items():
        monkeypatch.setattr(iwae, name, value)


def test_stages(iwae, folder, small, capsys, monkeypatch):
    out = folder / "made" / "here"
    arguments = ["--data-dir", str(folder), "--out", str(out), "--quick"]
    run = iwae.main([*arguments, "--stages", "1"])
    assert [result["epochs"] for result in run.results] == [1]
    run = iwae.main([*arguments, "--objective", "vae", "--k", "1"])  # the defaults: goes on, to the end of stage 1
    printed = capsys.readouterr().out
    assert printed.count("\nStage 0, 1 epochs") == printed.count("\nStage 1, 3 epochs") == 1
    assert [(each["stage"], each["epochs"]) for each in run.results] == [(0, 1), (1, 4)]
    assert int(run.vae.optimizer.iterations) == 4 * 2 and len(run.curve) == 4
    assert json.loads((out / "vae_1.json").read_text())["results"] == run.results
    for stage, epochs in enumerate([1, 4]):
        model = keras.saving.load_model(out / f"vae_1_stage_{stage}.keras")
        assert int(model.optimizer.iterations) == 2 * epochs

    iwae.main([*arguments, "--objective", "iwae", "--k", "5", "--stages", "1"])
    table = (out / "table.md").read_text()
    assert "by 20 samples" in table and table.count("| VAE | 1 |") == 2 and table.count("| IWAE | 5 |") == 1
    result = run.results[1]
    cells = f"| VAE | 1 | 1 | 4 | {result['nll']:.2f} ± {result['standard_error']:.2f} | 86.76 | {result['elbo']:.2f} |"
    assert cells in table
    assert imread(out / "curve.png")[..., :3].std() > 0.05

    # Once more: nothing is trained or scored, and all is drawn again.
    (out / "table.md").unlink()
    monkeypatch.setattr(iwae, "score", None)
    iwae.main(arguments)
    assert (out / "table.md").read_text() == table

    with pytest.raises(SystemExit, match="run of other settings"):
        iwae.main([*arguments, "--seed", "1"])


def test_the_model_is_the_paper_s(iwae):
    rng = np.random.default_rng(0)
    grey = (rng.integers(0, 256, (200, 28, 28)) * (np.arange(28) > 3)).astype("uint8")
    vae = iwae.build("iwae", 5, 0, grey)
    x = np.zeros((1, 28, 28), "float32")
    vae(x)
    shapes = [tuple(variable.shape) for variable in vae.trainable_variables]
    assert shapes == [
        (784, 200), (200,), (200, 200), (200,), (200, 100), (100,),
        (50, 200), (200,), (200, 200), (200,), (200, 784), (784,),
    ]  # fmt: skip
    bias = np.asarray(vae.trainable_variables[-1]).reshape(28, 28)
    np.testing.assert_allclose(bias[:, :4], np.log(0.001 / 0.999), rtol=1e-5)
    mean = grey.mean(axis=0)[:, 4:] / 255
    np.testing.assert_allclose(1 / (1 + np.exp(-bias[:, 4:])), mean, rtol=1e-5)
    for kernel in vae.trainable_variables[::2]:
        limit = np.sqrt(6 / sum(kernel.shape))  # Glorot's
        assert 0.9 * limit < np.abs(np.asarray(kernel)).max() <= limit
    assert all(layer.activation is keras.activations.tanh for layer in vae.decoder.layers[:2])
    adam = vae.optimizer
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.9, 0.999, 1e-4)


@pytest.mark.parametrize("k", [1, 5])
def test_objectives(iwae, k):
    elbo, bound = (iwae.OBJECTIVES[name](k) for name in ("vae", "iwae"))
    assert isinstance(elbo, objectives.ELBO) and elbo.kl == "draws" and elbo.num_samples == k
    assert isinstance(bound, objectives.IWAE) and bound.num_samples == k


def test_learning_rates(iwae):
    """3^i epochs at 0.001 x 10^(-i/7)."""
    assert iwae.ends(8) == [1, 4, 13, 40, 121, 364, 1093, 3280]
    schedule, steps = iwae.schedule(2980), 2980
    for stage, end in enumerate(iwae.ends(8)):
        for step in (end * steps - 3**stage * steps, end * steps - 1):  # its first, and its last
            rate = float(schedule(keras.ops.convert_to_tensor(step, "int64")))
            assert rate == pytest.approx(0.001 * 10 ** (-stage / 7), rel=1e-6)
    assert float(schedule(keras.ops.convert_to_tensor(3279 * steps, "int64"))) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "0"], "--k: expected an integer from 1 to 2**31 - 1; received: 0"),
        (["--stages", "0"], "--stages: expected an integer from 1"),
        (["--stages", "9"], "--stages: expected at most 8; received: 9"),
        (["--num-samples", "0"], "--num-samples: expected an integer from 1"),
        (["--seed", "-1"], "--seed: expected an integer from 0"),
        (["--objective", "gan"], "--objective: invalid choice: 'gan'"),
        (["--out", __file__], "--out: cannot make the folder"),
    ],
)
def test_bad_arguments(iwae, capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        iwae.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "stopped before any work"
