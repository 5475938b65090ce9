"""Exports: other runtimes compute what Keras does, by explicit seeds; what is refused leaves nothing behind."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from cases import CASES
from checks import dtype_policy
from keras import layers
from small import LinearGaussian, bernoulli_vae, digits, gaussian_vae

import keras_vae
from keras_vae.layers import Impute, IndependentBernoulli, IndependentNormal, Joint, Masked

X = digits()[:20]
FAMILIES = {type(case.make()).__name__: case for case in CASES}
AT_ONCE = {"IndependentNegativeBinomial"}


def exported(vae, folder):
    """The signatures of a VAE's SavedModel, as functions of NumPy arrays to dictionaries of them."""
    vae.export(folder / "served", verbose=False)
    return loaded_from(folder / "served")


def loaded_from(folder):
    loaded = tf.saved_model.load(folder)

    def function(signature):
        specs = signature.structured_input_signature[1]

        def call(**given):
            found = signature(**{name: tf.constant(value, specs[name].dtype) for name, value in given.items()})
            return {name: value.numpy() for name, value in found.items()}

        call.specs = specs
        call.keep = loaded  # whose variables the signature only borrows
        return call

    return {name: function(signature) for name, signature in loaded.signatures.items()}


def built(vae, x=X):
    vae.build(keras.tree.map_structure(lambda part: (None, *part.shape[1:]), x))
    return vae


def vae_of(likelihood, **kwargs):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(8, "tanh"), IndependentNormal(2)])
    return keras_vae.VAE(encoder, keras.Sequential([layers.Dense(8, "tanh"), likelihood]), seed=0, **kwargs)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """A VAE, and the folder that it was exported to, for tests that change neither."""
    vae, folder = built(gaussian_vae()), tmp_path_factory.mktemp("gaussian") / "served"
    vae.export(folder, verbose=False)
    return vae, folder


# The signatures.


def test_a_denoising_vae_is_served_what_its_encoder_sees(tmp_path):
    """The clean x is scored, and asked for by `score` alone."""
    noisy = keras.Input((8, 8, 1), name="noisy")
    encoder = keras.Model({"noisy": noisy}, IndependentNormal(2)(layers.Flatten()(noisy)))
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), target="clean", seed=0)
    served = exported(built(vae, {"noisy": X, "clean": X}), tmp_path)
    assert set(served["encode"].specs) == {"noisy", "seed"} and set(served["reconstruct"].specs) == {"noisy"}
    np.testing.assert_allclose(
        served["reconstruct"](noisy=X)["reconstruction"], vae.reconstruct({"noisy": X}), rtol=1e-4, atol=1e-5
    )
    assert served["score"](noisy=X, clean=X, num_samples=2, seed=0)["nll"].shape == (20,)


def test_every_signature_is_what_keras_computes(gaussian):
    vae, served = gaussian[0], loaded_from(gaussian[1])
    assert set(served) == {"serving_default", "reconstruct", "encode", "decode", "generate", "score"}
    posterior = vae.encode(X)
    for name in ("serving_default", "reconstruct"):
        assert list(served[name].specs) == ["x"]
        found = served[name](x=X)
        np.testing.assert_allclose(found["reconstruction"], vae.reconstruct(X), rtol=1e-5, atol=1e-6)
    found = served["encode"](x=X, seed=0)
    np.testing.assert_allclose(found["mean"], posterior.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["stddev"], posterior.stddev(), rtol=1e-5)
    found = served["decode"](z=posterior.mean())
    np.testing.assert_allclose(found["mean"], vae.decode(posterior.mean()).mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["stddev"], vae.decode(posterior.mean()).stddev(), rtol=1e-5)
    found = served["generate"](num=6, seed=3)
    np.testing.assert_allclose(found["mean"], vae.generate(6, seed=3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["sample"], vae.generate(6, seed=3, sample=True), rtol=1e-4, atol=1e-5)
    found = served["score"](x=X, num_samples=50, seed=0)
    assert set(found) == {"elbo", "nll", "kl", "log_likelihood", "log_prob_of_elements"} and found["elbo"].shape == (
        20,
    )
    assert found["log_prob_of_elements"].shape == X.shape
    np.testing.assert_allclose(found["log_prob_of_elements"].sum(axis=(1, 2, 3)), -found["nll"], rtol=1e-5)
    np.testing.assert_allclose(found["kl"], posterior.kl_divergence(vae.prior()), rtol=1e-4)
    np.testing.assert_allclose(found["elbo"], -found["nll"] - found["kl"], rtol=1e-6)


def test_scores_are_those_of_the_closed_form(tmp_path):
    """At the true posterior each draw gives log p(x) itself; away from it, 20,000 give it within 0.05 nats, which is
    ten standard errors of this stretch.
    """
    model = LinearGaussian()
    x = model.sample(12)
    score = exported(built(model.vae(), x), tmp_path)["score"]
    assert score.specs["x"].dtype == "float64"
    found = score(x=x, num_samples=1, seed=0)
    np.testing.assert_allclose(found["log_likelihood"], model.log_prob(x), rtol=1e-10)
    away = exported(built(model.vae(posterior_stretch=1.2), x), tmp_path)["score"]
    np.testing.assert_allclose(away(x=x, num_samples=20_000, seed=0)["log_likelihood"], model.log_prob(x), atol=0.05)
    one_by_one = [away(x=row[None], num_samples=5_000, seed=1)["log_likelihood"][0] for row in x]
    np.testing.assert_allclose(one_by_one, model.log_prob(x), atol=0.1)


def test_draws_are_a_function_of_the_seed_and_nothing_is_frozen(gaussian):
    served = loaded_from(gaussian[1])
    calls = {
        "encode": lambda seed: served["encode"](x=X, seed=seed)["sample"],
        "generate": lambda seed: served["generate"](num=20, seed=seed)["sample"],
        "score": lambda seed: served["score"](x=X, num_samples=5, seed=seed)["log_likelihood"],
        "elbo": lambda seed: served["score"](x=X, num_samples=5, seed=seed)["elbo"],
    }
    for name, call in calls.items():
        first, other, again = call(1), call(2**40 + 1), call(1)
        np.testing.assert_array_equal(first, again, err_msg=name)
        assert (first != other).all(), name
        assert len(np.unique(first)) > len(first) / 2, name  # nor are all examples' draws one


def test_a_sample_has_the_posterior_s_moments(gaussian):
    """Of 4,000 draws for one x; 5 standard errors each, six numbers: false alarms 3e-6."""
    found = loaded_from(gaussian[1])["encode"](x=np.repeat(X[:1], 4000, axis=0), seed=0)
    error = (found["sample"].mean(axis=0) - found["mean"][0]) / (found["stddev"][0] / np.sqrt(4000))
    assert np.abs(error).max() < 5
    assert np.abs(found["sample"].std(axis=0) / found["stddev"][0] - 1).max() < 5 / np.sqrt(8000)


@pytest.mark.parametrize(
    "family", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_every_family(family, tmp_path):
    case = FAMILIES[family]
    vae = vae_of(case.make())
    x = case.draw_x(np.random.default_rng(0), (5, *case.event_shape)).astype("float32")
    served = exported(built(vae, x), tmp_path)
    z = np.random.default_rng(1).normal(size=(5, 2)).astype("float32")
    found, likelihood = served["decode"](z=z), vae.decode(z)
    if family == "IndependentCategorical":
        np.testing.assert_array_equal(found["mode"], likelihood.mode())
    else:
        np.testing.assert_allclose(found["mean"], likelihood.mean(), rtol=1e-4, atol=1e-5)
    if "stddev" in found:
        np.testing.assert_allclose(found["stddev"], likelihood.stddev(), rtol=1e-4, atol=1e-5)
    sample = served["generate"](num=50, seed=1)["sample"]
    assert sample.shape == (50, *case.event_shape) and not vae.support.outside(sample).any()
    score = served["score"](x=x, num_samples=500, seed=0)
    assert all(np.isfinite(value).all() for value in score.values())


# Interfaces.


@pytest.mark.parametrize("kind", ["dictionary", "list"])
def test_inputs_have_names(kind, tmp_path):
    image, label = keras.Input((8, 8, 1), name="image"), keras.Input((10,), name="label")
    features = layers.Concatenate()([layers.Flatten()(image), label])
    inputs = {"image": image, "label": label} if kind == "dictionary" else [image, label]
    target = "image" if kind == "dictionary" else None
    vae = keras_vae.VAE(
        keras.Model(inputs, IndependentNormal(2)(features)),
        keras.Sequential([IndependentNormal((8, 8, 1))]),
        target=target,
    )
    labels = np.eye(10, dtype="float32")[np.arange(20) % 10]
    x = {"image": X, "label": labels} if kind == "dictionary" else [X, labels]
    served = exported(built(vae, x), tmp_path)
    assert set(served["reconstruct"].specs) == {"image", "label"}
    assert set(served["score"].specs) == {"image", "label", "num_samples", "seed"}
    found = served["reconstruct"](image=X, label=labels)["reconstruction"]
    np.testing.assert_allclose(found, vae.reconstruct(x), rtol=1e-5, atol=1e-6)


def test_parts_of_a_joint_likelihood_have_names_and_holes_stay_holes(tmp_path):
    inputs = {name: keras.Input((size,), name=name) for name, size in (("age", 1), ("blood", 3))}
    features = layers.Concatenate()([inputs["age"], Impute(mask=True)(inputs["blood"])])
    likelihood = Joint({"age": IndependentBernoulli(1), "blood": Masked(IndependentNormal(3))})
    vae = keras_vae.VAE(keras.Model(inputs, IndependentNormal(2)(features)), keras.Sequential([likelihood]))
    blood = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    blood[2, 1] = np.nan
    x = {"age": np.ones((6, 1), "float32"), "blood": blood}
    served = exported(built(vae, x), tmp_path)
    assert set(served["decode"](z=np.zeros((2, 2)))) == {"mean_age", "stddev_age", "mean_blood", "stddev_blood"}
    assert set(served["generate"](num=2, seed=0)) == {"sample_age", "sample_blood", "mean_age", "mean_blood"}
    found = served["reconstruct"](**x)
    np.testing.assert_allclose(found["reconstruction_blood"], vae.reconstruct(x)["blood"], rtol=1e-5, atol=1e-6)
    scores = served["score"](**x, num_samples=10, seed=0)
    assert np.isfinite(scores["log_likelihood"]).all()
    np.testing.assert_allclose(scores["nll_age"] + scores["nll_blood"], scores["nll"], rtol=1e-5)


def test_categories_are_served_by_their_mode_and_probabilities(tmp_path):
    likelihood = Joint(
        {
            "kind": keras_vae.layers.IndependentCategorical(2, levels=3),
            "tone": Masked(keras_vae.layers.IndependentCategorical((), levels=4)),
            "age": IndependentNormal(1),
        }
    )
    inputs = {name: keras.Input(shape, name=name) for name, shape in (("kind", (2,)), ("tone", ()), ("age", (1,)))}
    columns = [inputs["kind"], layers.Reshape((1,))(Impute()(inputs["tone"])), inputs["age"]]
    encoder = keras.Model(inputs, IndependentNormal(2)(layers.Concatenate()(columns)))
    vae = keras_vae.VAE(encoder, keras.Sequential([likelihood]))
    x = {
        "kind": np.eye(2, dtype="float32"),
        "tone": np.array([3.0, np.nan], "float32"),
        "age": np.ones((2, 1), "float32"),
    }
    served = exported(built(vae, x), tmp_path)
    z = 9.0 * np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    found, kind = served["decode"](z=z), vae.decode(z).parts["kind"]
    expected = scipy.special.softmax(np.asarray(kind.logits), axis=-1)
    assert set(found) == {
        "mean_age",
        "stddev_age",
        "mode_kind",
        "mode_tone",
        "probabilities_kind",
        "probabilities_tone",
    }
    np.testing.assert_allclose(found["probabilities_kind"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found["mode_kind"], expected.argmax(axis=-1))
    assert found["probabilities_tone"].shape == (5, 4)
    found = served["generate"](num=4, seed=1)
    assert {name: value.shape for name, value in found.items() if "kind" in name} == {
        "sample_kind": (4, 2),
        "mode_kind": (4, 2),
        "probabilities_kind": (4, 2, 3),
    }
    np.testing.assert_array_equal(found["mode_kind"], vae.generate(4, seed=1)["kind"])
    found = served["reconstruct"](**x)
    assert found["probabilities_tone"].shape == (2, 4)
    np.testing.assert_array_equal(found["reconstruction_tone"], found["probabilities_tone"].argmax(axis=-1))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_mixed_precision_has_float32_interfaces(policy, tmp_path):
    with dtype_policy(policy):
        vae = built(gaussian_vae())
    served = exported(vae, tmp_path)
    assert served["reconstruct"].specs["x"].dtype == served["decode"].specs["z"].dtype == "float32"
    found = served["encode"](x=X, seed=0)
    assert {value.dtype.name for value in found.values()} == {"float32"}
    np.testing.assert_allclose(found["mean"], vae.encode(X).mean(), rtol=0.05, atol=0.02)


def test_a_model_that_was_loaded_and_that_has_batch_statistics(tmp_path):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [layers.Flatten(), layers.BatchNormalization(), layers.Dropout(0.5), IndependentNormal(2)]
    )
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]))
    vae.compile("adam", jit_compile=False)
    vae.fit(X, verbose=0)
    vae.save(tmp_path / "vae.keras")
    served = exported(keras.saving.load_model(tmp_path / "vae.keras"), tmp_path)
    np.testing.assert_allclose(served["reconstruct"](x=X)["reconstruction"], vae.reconstruct(X), rtol=1e-5, atol=1e-6)


# Where nothing of ours is.

THERE = """
    import json, sys
    import numpy as np
    import tensorflow as tf
    for name in ("keras_vae", "keras", "tf_keras", "tensorflow_probability"):
        try:
            __import__(name)
        except ImportError:
            continue
        raise SystemExit(f"{name} is here")
    served = tf.saved_model.load(sys.argv[1]).signatures
    x, seed = tf.constant(np.load(sys.argv[2])), tf.constant(5, tf.int64)
    found = [
        served["serving_default"](x=x),
        served["encode"](x=x, seed=seed),
        served["decode"](z=tf.zeros((2, 3))),
        served["generate"](num=tf.constant(2), seed=seed),
        served["score"](x=x, num_samples=tf.constant(20), seed=seed),
    ]
    print(json.dumps([{name: value.numpy().tolist() for name, value in each.items()} for each in found]))
"""


@pytest.fixture(scope="module")
def without_us(tmp_path_factory):
    """A folder with all installed packages but Keras, TensorFlow Probability and this one."""
    folder = tmp_path_factory.mktemp("site")
    ours = ("keras", "tf_keras", "tensorflow_probability", "tfp_nightly", "__editable__")
    for entry in pathlib.Path(tf.__file__).parents[1].iterdir():
        if not entry.name.lower().startswith(ours):
            (folder / entry.name).symlink_to(entry)
    return folder


def run_there(folder, *command):
    """Runs Python with the packages of a folder, and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**environment, "PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-S", *map(str, command)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_process_that_has_tensorflow_alone_gets_the_same_numbers(without_us, gaussian, tmp_path):
    here = loaded_from(gaussian[1])
    np.save(tmp_path / "x.npy", X)
    there = json.loads(run_there(without_us, "-c", textwrap.dedent(THERE), gaussian[1], tmp_path / "x.npy"))
    expected = [
        here["serving_default"](x=X),
        here["encode"](x=X, seed=5),
        here["decode"](z=np.zeros((2, 3))),
        here["generate"](num=2, seed=5),
        here["score"](x=X, num_samples=20, seed=5),
    ]
    for one, other in zip(expected, there, strict=True):
        assert set(one) == set(other)
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_tensorflow_s_own_tool_shows_and_runs_it(without_us, gaussian, tmp_path):
    vae, folder = gaussian
    tool = ("-m", "tensorflow.python.tools.saved_model_cli")
    shown = run_there(without_us, *tool, "show", "--dir", folder, "--all")
    for name in ("reconstruct", "encode", "decode", "generate", "score", "serving_default"):
        assert f"signature_def['{name}']" in shown
    ran = (*tool, "run", "--dir", folder, "--tag_set", "serve", "--outdir", tmp_path)
    run_there(without_us, *ran, "--signature_def", "generate", "--input_exprs", "num=2;seed=7")
    np.testing.assert_allclose(np.load(tmp_path / "mean.npy"), vae.generate(2, seed=7), rtol=1e-4, atol=1e-5)


# Other runtimes.

OTHERS = {
    "gaussian": gaussian_vae,
    "bernoulli": bernoulli_vae,
    "levels": lambda: vae_of(keras_vae.layers.DiscretizedLogistic((8, 8, 1), levels=17, activation="sigmoid")),
    "counts": lambda: vae_of(keras_vae.layers.IndependentNegativeBinomial((8, 8, 1))),
    "laplace": lambda: vae_of(keras_vae.layers.IndependentLaplace((8, 8, 1))),
    "logistic": lambda: vae_of(keras_vae.layers.IndependentLogistic((8, 8, 1), scale=keras_vae.scales.Shared())),
    "categories": lambda: vae_of(keras_vae.layers.IndependentCategorical((8, 8, 1), levels=3)),
}
FAST = {"gaussian", "categories"}
every_other = pytest.mark.parametrize(
    "make", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]
)


def assert_agree(vae, functions):
    """`encode`, `decode` and `reconstruct` are Keras's to 1e-5, for any batch size."""
    for size in (1, 7):
        x, z = X[:size], np.random.default_rng(0).normal(size=(size, vae.prior.latent_shape[0])).astype("float32")
        posterior, likelihood = vae.encode(x), vae.decode(z)
        decoded, beside = {"mean": likelihood.mean(), "stddev": likelihood.stddev()}, {}
        if hasattr(likelihood, "logits") and likelihood.extra_axes:  # of categories
            decoded = {"mode": likelihood.mode(), "probabilities": likelihood.probabilities()}
            beside = {"probabilities": vae.decode(posterior.mean()).probabilities()}
        for found, expected in (
            (functions["encode"](x=x), {"mean": posterior.mean(), "stddev": posterior.stddev()}),
            (functions["decode"](z=z), decoded),
            (functions["reconstruct"](x=x), {"reconstruction": vae.reconstruct(x), **beside}),
        ):
            assert set(found) == set(expected)
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@every_other
def test_litert(make, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs the extra keras_vae[litert]")
    vae = built(OTHERS[make]())
    vae.export(tmp_path / "vae.tflite", format="litert", verbose=False)
    loaded = interpreter.Interpreter(str(tmp_path / "vae.tflite"))
    assert_agree(vae, {name: loaded.get_signature_runner(name) for name in ("encode", "decode", "reconstruct")})


@every_other
def test_onnx(make, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra keras_vae[onnx]")
    vae = built(OTHERS[make]())
    vae.export(tmp_path / "onnx", format="onnx", verbose=False)

    def function(name):
        session = onnxruntime.InferenceSession(tmp_path / "onnx" / f"{name}.onnx")
        names = [output.name for output in session.get_outputs()]
        return lambda **given: dict(zip(names, session.run(None, given), strict=True))

    assert_agree(vae, {name: function(name) for name in ("encode", "decode", "reconstruct")})


@pytest.mark.parametrize("format", ["litert", pytest.param("onnx", marks=pytest.mark.slow)])
def test_what_a_format_has_no_form_of_is_refused_and_an_earlier_export_stays(format, tmp_path):
    place = tmp_path / ("vae.tflite" if format == "litert" else "vae")
    built(gaussian_vae()).export(place, format=format, verbose=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([layers.Flatten(), keras_vae.layers.MultivariateNormalTriL(2)])
    vae = built(keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))])))
    message = rf"export: format='{format}' has no form of this model, which ends in MultivariateNormalTriL and"
    with pytest.raises(ValueError, match=message):
        vae.export(place, format=format)
    with dtype_policy("mixed_bfloat16"):
        half = built(gaussian_vae())
    with pytest.raises(ValueError, match="a model that computes in float32"):
        half.export(place, format=format)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


# What is refused.


@pytest.mark.parametrize(
    "bad", [X[..., 0], X[:, :4], X[:, :1], X.astype("float64")], ids=["rank", "size", "broadcast", "dtype"]
)
def test_inputs_of_another_shape_or_dtype_are_refused_by_name(bad, gaussian):
    served = tf.saved_model.load(gaussian[1])
    message = "float tensor but is a double" if bad.dtype == "float64" else r"Shape of tensor x .* not compatible"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served.signatures["reconstruct"](x=tf.constant(bad))


def test_a_number_of_samples_that_is_none_is_refused(gaussian):
    score = loaded_from(gaussian[1])["score"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="`num_samples` to be an integer >= 1"):
        score(x=X, num_samples=0, seed=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`num` to be an integer >= 1"):
        loaded_from(gaussian[1])["generate"](num=-1, seed=0)


def test_a_model_that_is_not_built(tmp_path):
    with pytest.raises(ValueError, match="export: expected a built model; received one that has not seen data"):
        gaussian_vae().export(tmp_path / "served")
    assert not any(tmp_path.iterdir())


def test_a_format_that_is_none(tmp_path):
    message = r"expected `format` to be one of \['litert', 'onnx', 'tf_saved_model'\]; received: 'pickle'"
    with pytest.raises(ValueError, match=message):
        built(gaussian_vae()).export(tmp_path / "served", format="pickle")


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_vae.export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'format=\'onnx\' needs tf2onnx. .* pip install "keras_vae\[onnx\]"'):
        built(gaussian_vae()).export(tmp_path / "onnx", format="onnx")


@pytest.mark.parametrize("format", ["tf_saved_model", "onnx", "litert"])
def test_a_place_that_holds_something_else_is_left_alone(format, tmp_path):
    place = tmp_path / "thesis"
    place.mkdir()
    (place / "chapter.tex").write_text("all my work")
    with pytest.raises(ValueError, match=r"export: expected `filepath` to be .*received: '.*thesis'"):
        built(gaussian_vae()).export(place, format=format)
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "chapter.tex"]


def test_an_earlier_export_is_replaced_whole(gaussian, tmp_path):
    shutil.copytree(gaussian[1], tmp_path / "served")
    (tmp_path / "served" / "assets" / "left over").touch()
    other = built(gaussian_vae(seed=1))
    found = exported(other, tmp_path)["reconstruct"](x=X)["reconstruction"]
    np.testing.assert_allclose(found, other.reconstruct(X), rtol=1e-5, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]
    assert not (tmp_path / "served" / "assets" / "left over").exists()


@pytest.mark.parametrize("stranger", ["notes.txt", "assets.extra"])
def test_an_earlier_export_with_something_beside_it_is_left_alone(stranger, gaussian, tmp_path):
    shutil.copytree(gaussian[1], tmp_path / "served")
    (tmp_path / "served" / stranger).mkdir()
    with pytest.raises(ValueError, match="an earlier export and no more"):
        gaussian[0].export(tmp_path / "served")
    assert (tmp_path / "served" / stranger).exists()


def test_a_swap_that_fails_leaves_the_earlier_export(gaussian, tmp_path, monkeypatch):
    vae, folder = gaussian
    shutil.copytree(folder, tmp_path / "served")
    before = sorted(tmp_path.rglob("*"))

    def fails(source, destination):
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(keras_vae.export.os, "replace", fails)
    with pytest.raises(OSError, match="not empty"):
        vae.export(tmp_path / "served")
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(OSError, match="not empty"):
        vae.export(tmp_path / "new" / "and" / "deep.tflite", format="litert")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_leads_where_it_leads(gaussian, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real.tflite")
    with pytest.raises(ValueError, match=r"a file whose name ends in \.tflite"):
        gaussian[0].export(gaussian[1], format="litert")
    gaussian[0].export(tmp_path / "link", format="litert", verbose=False)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real.tflite").stat().st_size > 1000


def test_the_working_directory_is_no_place(gaussian, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in (".", ".."):
        with pytest.raises(ValueError, match="a place of its own, not where this process works"):
            gaussian[0].export(place)


def test_a_bucket_is_no_local_path(gaussian, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"expected `filepath` to be a local path.*received: 'gs://bucket/vae'"):
        gaussian[0].export("gs://bucket/vae")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["seed", "blood pressure", "class", "IMAGE"])
def test_names_that_no_input_can_have_are_refused(name, tmp_path):
    image = keras.Input((8, 8, 1), name="image")
    other = keras.Input((1,))
    features = layers.Concatenate()([layers.Flatten()(image), other])
    encoder = keras.Model({"image": image, name: other}, IndependentNormal(2)(features))
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), target="image")
    built(vae, {"image": X, name: np.ones((20, 1))})
    with pytest.raises(ValueError, match=rf"export: expected names of x's parts .*received '({name}|image)' among"):
        vae.export(tmp_path / "served")


def test_an_integer_input_is_one_and_latents_are_not(tmp_path):
    label, image = keras.Input((1,), dtype="int32", name="a_label"), keras.Input((8, 8, 1), name="image")
    features = layers.Concatenate()([layers.Flatten()(image), layers.Flatten()(layers.Embedding(10, 3)(label))])
    vae = keras_vae.VAE(
        keras.Model({"a_label": label, "image": image}, IndependentNormal(2)(features)),
        keras.Sequential([IndependentNormal((8, 8, 1))]),
        target="image",
    )
    vae({"a_label": np.ones((2, 1), "int32"), "image": X[:2]})
    served = exported(vae, tmp_path)
    assert served["encode"].specs["a_label"].dtype == "int32" and served["decode"].specs["z"].dtype == "float32"


@keras.saving.register_keras_serializable("keras_vae_tests")
class Described(keras.Model):
    """A subclassed encoder of an image, an integer and a text."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.colour = layers.StringLookup(vocabulary=["red", "blue"], output_mode="one_hot")
        self.label = layers.Embedding(10, 3)
        self.posterior = IndependentNormal(2)

    def call(self, x):
        flat = layers.Flatten()
        return self.posterior(
            keras.ops.concatenate([flat(x["image"]), flat(self.label(x["label"])), self.colour(x["colour"])], axis=1)
        )


@pytest.mark.parametrize("how", ["fitted", "called", "loaded"])
def test_inputs_of_a_subclassed_encoder_are_what_x_was(how, tmp_path):
    vae = keras_vae.VAE(Described(), keras.Sequential([IndependentNormal((8, 8, 1))]), target="image", seed=0)
    x = {"image": X, "label": np.arange(20).reshape(20, 1) % 10, "colour": np.array([["red"], ["blue"]] * 10, object)}
    tensors = keras.tree.map_structure(tf.constant, x)
    if how == "called":
        vae(tensors)
    else:
        vae.compile("adam", jit_compile=False)
        vae.fit(tf.data.Dataset.from_tensor_slices((tensors,)).batch(10), verbose=0)
    if how == "loaded":
        vae.save(tmp_path / "vae.keras")
        vae = keras.saving.load_model(tmp_path / "vae.keras")
    served = exported(vae, tmp_path)["encode"]
    assert {name: spec.dtype.name for name, spec in served.specs.items()} == {
        "colour": "string", "image": "float32", "label": "int64", "seed": "int64",
    }  # fmt: skip
    np.testing.assert_allclose(served(**x, seed=0)["mean"], vae.encode(tensors).mean(), rtol=1e-5, atol=1e-6)
    assert np.ptp(served(**{**x, "image": np.zeros_like(X)}, seed=0)["mean"], axis=0).min() > 1e-3


def test_what_was_generated_is_scored_with_other_noise_though_the_seed_is_one(tmp_path):
    """At the true posterior the mean of elbo - log p(x) is 0, to rounding; 5 standard errors of 8,000 x."""
    model = LinearGaussian()
    served = exported(built(model.vae(), model.sample(4)), tmp_path)
    x = served["generate"](num=8000, seed=0)["sample"]
    gap = served["score"](x=x, num_samples=1, seed=0)["elbo"] - model.log_prob(x)
    assert abs(gap.mean()) < 5 * gap.std() / np.sqrt(len(x))


@pytest.mark.parametrize("had_one", [True, False])
def test_an_export_that_fails_leaves_what_there_was(had_one, gaussian, tmp_path, monkeypatch):
    vae, folder = gaussian
    if had_one:
        shutil.copytree(folder, tmp_path / "served")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def full(self, path, **kwargs):
        pathlib.Path(path).mkdir()
        (pathlib.Path(path) / "saved_model.pb").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.export.ExportArchive().__class__, "write_out", full)
    with pytest.raises(OSError, match="No space left"):
        vae.export(tmp_path / "served")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.slow
def test_it_says_what_it_wrote_unless_told_not_to(tmp_path, capsys):
    vae = built(gaussian_vae())
    vae.export(tmp_path / "vae.tflite", format="litert", verbose=False)
    assert capsys.readouterr().out == ""
    vae.export(tmp_path / "vae.tflite", format="litert")
    assert capsys.readouterr().out == f"Exported to {tmp_path / 'vae.tflite'}: reconstruct, encode, decode\n"
