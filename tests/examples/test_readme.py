"""The README's code blocks, as a newcomer would paste them."""

import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.stats
from sklearn.datasets import load_wine

import keras_vae

README = pathlib.Path(__file__).parents[2] / "README.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def test_the_first_code_block_runs_as_it_stands(tmp_path):
    block = blocks()[0]
    script = tmp_path / "pasted.py"
    script.write_text(block)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'elbo': " in done.stdout
    assert (tmp_path / "vae.keras").exists()
    assert keras.saving.load_model(tmp_path / "vae.keras").generate(2).shape == (2, 8, 8, 1)


def test_a_table_of_mixed_columns_with_holes():
    (block,) = (block for block in blocks() if "blood_with_nan" in block)
    rng = np.random.default_rng(0)
    blood = np.where(rng.uniform(size=(64, 13)) < 0.2, np.nan, rng.normal(size=(64, 13)))
    table = {"age": rng.normal(size=(64, 1)), "smokes": rng.integers(0, 2, (64, 1)), "blood_with_nan": blood}
    names = {"keras": keras, "keras_vae": keras_vae, "layers": keras.layers, **table}
    exec(block, names)
    assert np.isfinite(names["filled"]["blood"]).all() and len(names["draws"]) == 5
    filled = names["vae"].reconstruct({"age": table["age"], "smokes": table["smokes"], "blood": blood})
    assert np.isfinite(filled["blood"]).all()


def test_the_likelihood_of_ones_own_is_one_like_the_rest(tmp_path):
    (block,) = (block for block in blocks() if "class Gamma(" in block)
    names = {}
    exec(block, names)
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).gamma(3.0, 2.0, (64, 3)).astype("float32")
    encoder = keras.Sequential([keras.layers.Dense(8, "relu"), keras_vae.layers.IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(8, "relu"), names["Gamma"](3)]), seed=0)
    vae.compile(keras.optimizers.Adam(0.01))
    history = vae.fit(x, epochs=30, verbose=0).history["loss"]
    assert history[-1] < history[0]

    distribution = vae.decode(np.zeros((64, 2), "float32"))
    frozen = scipy.stats.gamma(np.float64(distribution.concentration), scale=1 / np.float64(distribution.rate))
    np.testing.assert_allclose(distribution.log_prob(x), frozen.logpdf(x).sum(axis=-1), rtol=1e-5)
    vae.save(tmp_path / "vae.keras")
    same = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(same.generate(3, seed=0), vae.generate(3, seed=0))
    x[5, 1] = -1.0
    with pytest.raises(ValueError, match=r"Gamma scores x > 0; received -1.0 at position \[5, 1\]"):
        vae.fit(x, verbose=0)


def test_a_vae_inside_a_larger_model():
    (block,) = (block for block in blocks() if "class Classifier(" in block)
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 13)).astype("float32")
    encoder = keras.Sequential([keras.layers.Dense(8, "relu"), keras_vae.layers.IndependentNormal(2)])
    decoder = keras.Sequential([keras.layers.Dense(8, "relu"), keras_vae.layers.IndependentNormal(13)])
    names = {"keras": keras, "keras_vae": keras_vae, "layers": keras.layers, "x": x, "digit": np.arange(64) % 10}
    names["vae"] = keras_vae.VAE(encoder, decoder)
    exec(block, names)
    metrics = names["model"].get_metrics_result()
    assert {"loss", "nll", "kl"} <= set(metrics)
    # Of ten classes, the cross-entropy of a head that knows nothing yet, beside the terms.
    assert metrics["loss"] > metrics["nll"] + metrics["kl"] + 1.0


def test_a_table_in_its_own_units_and_what_comes_out():
    adapting, asking = (block for block in blocks() if "wine" in block)
    names = {"keras": keras, "keras_vae": keras_vae, "layers": keras.layers, "wine": load_wine().data}
    exec(adapting, names)
    history = names["vae"].history.history["loss"]
    assert np.isfinite(history).all() and history[-1] < history[0]
    exec(asking, names)


def test_denoising():
    (block,) = (block for block in blocks() if 'name="noisy"' in block)
    clean = np.random.default_rng(0).normal(size=(64, 13)).astype("float32")
    names = {"keras": keras, "keras_vae": keras_vae, "layers": keras.layers, "clean": clean, "noisy": clean + 0.1}
    exec(block, names)
    assert np.isfinite(names["vae"].transform({"noisy": clean}, verbose=0)).all()


def test_a_callback_that_sets_beta():
    (block,) = (block for block in blocks() if "def raise_beta" in block)
    x = np.random.default_rng(0).normal(size=(64, 13)).astype("float32")
    encoder = keras.Sequential([keras_vae.layers.IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([keras_vae.layers.IndependentNormal(13)]))
    vae.compile("adam")
    exec(block, {"keras": keras, "vae": vae, "x": x})
    found = vae.history.history
    weight = (np.array(found["loss"]) - found["nll"]) / found["kl"]
    np.testing.assert_allclose(weight, np.minimum(1.0, np.arange(20) / 10), atol=1e-3)


@pytest.mark.slow
def test_a_grid_search():
    (block,) = (block for block in blocks() if "GridSearchCV" in block)
    names = {"x": load_wine().data}
    exec(block, names)
    assert names["search"].transform(names["x"]).shape[1] in (2, 4)


def test_an_objective_of_ones_own_is_trained_and_saved(tmp_path):
    (block,) = (block for block in blocks() if "class Sparse(" in block)
    names = {"keras": keras, "keras_vae": keras_vae}
    exec(block, names)
    x = scipy.stats.zscore(load_wine().data)[:32].astype("float32")
    encoder = keras.Sequential([keras_vae.layers.IndependentNormal(2)])
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal(13)])
    vae = keras_vae.VAE(encoder, decoder, objective=names["objective"], seed=0)
    vae.compile("adam", jit_compile=False)
    logs = {name: values[-1] for name, values in vae.fit(x, verbose=0).history.items()}
    np.testing.assert_allclose(logs["loss"], logs["nll"] + 0.5 * logs["kl"] + 0.1 * logs["sparse"], rtol=1e-5)
    vae.save(tmp_path / "vae.keras")
    assert keras_vae.load_model(tmp_path / "vae.keras").objective.parts[1].weight == 0.1


def test_a_discriminator_with_an_optimizer_of_its_own():
    (block,) = (block for block in blocks() if "factor_vae =" in block)
    encoder = keras.Sequential([keras_vae.layers.IndependentNormal(2)])
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal(13)])
    names = {"keras": keras, "keras_vae": keras_vae, "encoder": encoder, "decoder": decoder}
    exec(block, names)
    vae = names["factor_vae"]
    x = np.random.default_rng(0).normal(size=(16, 13)).astype("float32")
    assert np.isfinite(vae.fit(x, verbose=0).history["discriminator"]).all()
    assert float(vae.optimizer.others[0].learning_rate) == pytest.approx(1e-4)
