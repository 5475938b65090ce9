"""What holds of every objective of a whole batch: under XLA, in other precisions, of weighted examples, in files."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from checks import dtype_policy
from resumed import state_of
from small import LinearGaussian, digits, gaussian_vae
from variants import fast_for

import keras_vae
from keras_vae.objectives import DIP, DIPVAE, ELBO, IWAE, MMD, WAE, BetaTC, InfoVAE, Sum, TotalCorrelation

OBJECTIVES = {
    "BetaTC": lambda: BetaTC(2.0, num_samples=2),
    "BetaTC stratified": lambda: BetaTC(2.0, estimator="stratified"),
    "DIPVAE I": lambda: DIPVAE(2.0, 3.0),
    "DIPVAE II": lambda: DIPVAE(2.0, 3.0, kind="II"),
    "InfoVAE": lambda: InfoVAE(0.5, 10.0),
    "WAE": lambda: WAE(20.0, num_samples=2),
    "Sum": lambda: Sum(ELBO(), MMD(2.0), TotalCorrelation(1.0), DIP()),
    "Sum with a bound": lambda: Sum(IWAE(3, gradient="dreg"), MMD(2.0), TotalCorrelation(1.0), DIP()),
}
X = digits()[:24]
SEED = np.array([3, 4], "int32")
of_each = pytest.mark.parametrize("name", OBJECTIVES)


def of_each_fast_for(*names):
    return pytest.mark.parametrize("name", fast_for(*names, among=OBJECTIVES))


def made(name, **kwargs):
    vae = gaussian_vae(units=4, objective=OBJECTIVES[name](), **kwargs)
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    vae.build(X.shape)
    vae.objective.prepare(100)
    return vae


def loss_and_gradients(vae, x, sample_weight=None):
    """The terms `{name: [B]}`, and the gradients of their weighted batch means, as `add_terms` has them."""
    weights = vae.trainable_variables
    with tf.GradientTape() as tape:
        forward = vae.forward_pass(x, SEED, training=True)
        forward = dataclasses.replace(forward, sample_weight=sample_weight)
        terms = vae.objective(forward)
        counted = 1.0 if sample_weight is None else tf.cast(sample_weight, x.dtype)
        loss = sum(vae.objective.term_weights[name] * tf.reduce_mean(counted * each) for name, each in terms.items())
    return terms, tape.gradient(loss, [each.value for each in weights])


@of_each_fast_for("BetaTC stratified", "DIPVAE II", "Sum with a bound")
def test_xla_is_the_same_as_eager(name):
    """For a batch of unknown size, terms and gradients."""
    vae = made(name)
    program = tf.function(
        lambda x: loss_and_gradients(vae, x),
        jit_compile=True,
        input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32)],
    )
    found, expected = program(X[:7]), loss_and_gradients(vae, tf.constant(X[:7]))
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5 * max(1.0, np.abs(other).max()))


@of_each
def test_an_example_of_weight_0_changes_nothing(name):
    """Whatever it is: neither the others' terms, nor any gradient."""
    vae = made(name)
    weights = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.5], "float32")
    other = X[:6].copy()
    other[[1, 4]] = 5.0 - 3.0 * X[10:12]
    terms, gradients = loss_and_gradients(vae, tf.constant(X[:6]), weights)
    same, same_gradients = loss_and_gradients(vae, tf.constant(other), weights)
    for each, value in terms.items():
        np.testing.assert_allclose(np.asarray(same[each])[weights > 0], np.asarray(value)[weights > 0], rtol=1e-5)
    for one, gradient in zip(same_gradients, gradients, strict=True):
        np.testing.assert_allclose(one, gradient, rtol=1e-3, atol=1e-5 * np.abs(gradient).max())


@of_each_fast_for("BetaTC", "Sum")
def test_it_trains_validates_and_comes_back_and_goes_on(name, tmp_path):
    """Four weighted epochs are two, a file, and two more, to the last bit; each term is reported, and falls in loss."""
    options = {
        "batch_size": 8,
        "sample_weight": np.random.default_rng(0).uniform(0.0, 2.0, 24).astype("float32"),
        "validation_data": (X[:10],),
        "verbose": 0,
    }
    whole, half = made(name), made(name)
    history = whole.fit(X, epochs=4, **options).history
    reported = {"loss", "nll", "kl", "elbo", *whole.objective.term_weights}
    assert reported | {f"val_{each}" for each in reported} <= set(history)
    assert np.isfinite(list(history.values())).all()
    half.fit(X, epochs=2, **options)
    half.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert repr(loaded.objective) == repr(half.objective)
    assert loaded.evaluate(X, batch_size=8, verbose=0) == half.evaluate(X, batch_size=8, verbose=0)
    rest = loaded.fit(X, epochs=4, initial_epoch=2, **options).history
    assert rest == {each: curve[2:] for each, curve in history.items()}
    assert state_of(loaded) == state_of(whole)


@of_each_fast_for("BetaTC", "DIPVAE I", "WAE")
def test_training_lowers_what_is_minimised(name):
    vae = made(name)
    curve = vae.fit(X, batch_size=12, epochs=60, verbose=0).history["loss"]
    assert np.mean(curve[-5:]) < np.mean(curve[:5])


@of_each_fast_for("BetaTC", "DIPVAE II", "Sum")
def test_mixed_precision_gives_terms_in_float32(name):
    with dtype_policy("mixed_float16"):
        vae = made(name)
        terms, gradients = loss_and_gradients(vae, tf.constant(X[:6]))
        history = vae.fit(X, batch_size=8, verbose=0).history
    assert {value.dtype for value in terms.values()} == {tf.float32}
    assert all(np.isfinite(each).all() for each in [*terms.values(), *gradients])
    assert np.isfinite(list(history.values())).all()


@of_each
def test_in_float64_terms_are_float64(name):
    model = LinearGaussian()
    vae = model.vae(objective=OBJECTIVES[name]())
    vae.objective.prepare(100)
    x = tf.constant(model.sample(9))
    terms, gradients = loss_and_gradients(vae, x)
    assert {value.dtype for value in terms.values()} == {tf.float64}
    assert all(np.isfinite(each).all() for each in gradients)


def test_a_term_s_gradient_is_that_of_finite_differences():
    """Of all penalties together, in float64, along a random direction in all weights."""
    model = LinearGaussian()
    vae = model.vae(posterior_shift=0.3, objective=Sum(ELBO(), MMD(2.0), TotalCorrelation(1.5), DIP(3.0, 2.0, "II")))
    vae.objective.prepare(100)
    x, random = tf.constant(model.sample(7)), np.random.default_rng(0)
    before = [np.asarray(each) for each in vae.trainable_variables]
    directions = [random.normal(size=each.shape) for each in before]

    def loss_at(step):
        for variable, value, direction in zip(vae.trainable_variables, before, directions, strict=True):
            variable.assign(value + step * direction)
        terms, _ = loss_and_gradients(vae, x)
        return sum(vae.objective.term_weights[name] * np.mean(each) for name, each in terms.items())

    numerical = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5
    loss_at(0.0)
    _, gradients = loss_and_gradients(vae, x)
    exact = sum(np.sum(gradient * direction) for gradient, direction in zip(gradients, directions, strict=True))
    assert numerical == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("posterior", ["TriL", "LowRank"])
def test_correlated_posteriors_train(posterior):
    layer = {
        "TriL": lambda: keras_vae.layers.MultivariateNormalTriL(3),
        "LowRank": lambda: keras_vae.layers.MultivariateNormalLowRank(3, rank=1),
    }[posterior]()
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4), layer])
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal((8, 8, 1))])
    objective = Sum(BetaTC(2.0), MMD(1.0), DIP(kind="II"))
    vae = keras_vae.VAE(encoder, decoder, objective=objective, seed=0)
    vae.compile("adam", jit_compile=False)
    assert np.isfinite(list(vae.fit(X, batch_size=8, verbose=0).history.values())).all()


def test_an_export_scores_by_it(tmp_path):
    """`score` has every term: of those without noise, the very numbers."""
    vae = gaussian_vae(units=4, objective=Sum(ELBO(), MMD(2.0), TotalCorrelation(1.0), DIP(kind="II")))
    vae.compile("adam", jit_compile=False)
    vae.fit(X, verbose=0)
    vae.export(tmp_path / "served", verbose=False)
    score = tf.saved_model.load(tmp_path / "served").signatures["score"]
    found = score(x=tf.constant(X), num_samples=tf.constant(2), seed=tf.constant(0, tf.int64))
    expected = vae.objective(vae.forward_pass(X, SEED))
    assert set(expected) <= set(found) and all(np.isfinite(found[each]).all() for each in expected)
    for each in ("off_diagonal", "diagonal", "kl"):
        np.testing.assert_allclose(found[each], expected[each], rtol=1e-4, atol=1e-6)
    again = score(x=tf.constant(X), num_samples=tf.constant(2), seed=tf.constant(0, tf.int64))
    np.testing.assert_array_equal(found["mmd"], again["mmd"])
