"""`VAE.adapt`: before training the model is the marginal of the data, as NumPy and SciPy have it; then it trains."""

import warnings

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import tensorflow as tf
from cases import CASES, float64, negative_binomial_of, table_of_mixture
from referees import ContinuousBernoulli, Levels, ZeroInflated, table_of_levels
from sklearn.datasets import load_breast_cancer, load_wine

import keras_vae
from keras_vae import layers, scales
from keras_vae.data.moments import Moments, moments_of

ROWS = 300


def vae_of(likelihood, event_shape, features=(6,), latent=2, seed=0):
    """A VAE whose decoder ends in a likelihood that is given features of this shape."""
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(8, "tanh"), layers.IndependentNormal(latent)]
    )
    size = int(np.prod(features))
    decoder = keras.Sequential([keras.layers.Dense(size, "tanh"), keras.layers.Reshape(features), likelihood])
    vae = keras_vae.VAE(encoder, decoder, seed=seed)
    vae.build((None, *event_shape))
    vae.compile("adam", jit_compile=False)
    return vae


def data_of(case):
    """Data of a case's support; real numbers of another place and spread for each element."""
    rng = np.random.default_rng(0)
    x = case.draw_x(rng, (ROWS, *case.event_shape)).astype("float32")
    if case.name.startswith("zero_inflated"):
        x = rng.negative_binomial(3.0, 0.3, size=x.shape) * rng.binomial(1, 0.7, size=x.shape).astype("float32")
    if case.name.split("-")[0] in ("normal", "laplace", "logistic", "student_t", "tril", "low_rank"):
        x = x * rng.uniform(1.0, 50.0, case.event_shape) + rng.normal(size=case.event_shape) * 30.0
    return x.astype("float32")


def fitted_moments(case, layer, x):
    """Mean and standard deviation, by NumPy, of what shares a location and a sigma."""
    x = x.astype("float64")
    last = tuple(range(1, x.ndim - 1)) if case.features[:-1] == case.event_shape[:-1] else tuple(range(1, x.ndim))
    of_location = (0, *last) if len(case.features) > 1 else (0,)
    mean = x.mean(axis=of_location, keepdims=True)
    scale = getattr(layer, "scale", None)
    of_sigma = of_location
    if isinstance(scale, (scales.Shared, scales.Optimal)):
        of_sigma = tuple(range(x.ndim)) if scale.axis is None else tuple(range(x.ndim - 1))
    elif isinstance(scale, scales.PerDimension):
        of_sigma = (0,)
    sigma = np.sqrt(np.square(x - mean).mean(axis=of_sigma, keepdims=True))
    return mean, np.full_like(sigma, scale.sigma) if isinstance(scale, scales.Fixed) else sigma


def logits_of_mean(mean):
    """The l at which a continuous Bernoulli has this mean, 1 / (1 - exp(-l)) - 1 / l, by SciPy."""
    solve = np.vectorize(
        lambda m: scipy.optimize.brentq(lambda x: 1 / (1 - np.exp(-x)) - 1 / x - m, -50, 49.9, xtol=1e-12)
    )
    return solve(mean)


def marginal_of(case, layer, distribution, x):
    """SciPy's distribution of the elements, by moments."""
    mean, sigma = fitted_moments(case, layer, x)
    family = case.name.split("-")[0]
    if family in ("normal", "tril", "low_rank"):
        return scipy.stats.norm(mean, sigma)
    if family == "laplace":
        return scipy.stats.laplace(mean, sigma / np.sqrt(2))
    if family == "logistic":
        return scipy.stats.logistic(mean, sigma * np.sqrt(3) / np.pi)
    if family == "student_t":
        df = layer.df or 10.0
        return scipy.stats.t(df, mean, sigma * np.sqrt((df - 2) / df))
    if family == "bernoulli":
        return scipy.stats.bernoulli(mean)
    if family == "continuous_bernoulli":
        return ContinuousBernoulli(logits_of_mean(mean))
    if family == "beta":
        total = mean * (1 - mean) / sigma**2 - 1
        return scipy.stats.beta(total * mean, total * (1 - mean))
    if family == "poisson":
        return scipy.stats.poisson(mean)
    if family == "negative_binomial":
        return scipy.stats.nbinom(mean**2 / (sigma**2 - mean), mean / sigma**2)
    if family == "zero_inflated":
        frozen = ZeroInflated(
            negative_binomial_of(distribution), scipy.special.expit(float64(distribution.zero_logits))
        )
        # Its three numbers are those of the data.
        np.testing.assert_allclose(frozen.pmf(0)[0], (x == 0).mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(float64(distribution.mean())[0], mean[0], rtol=1e-4)
        np.testing.assert_allclose(float64(distribution.stddev())[0], sigma[0], rtol=1e-4)
        return frozen
    if family == "categorical":
        shares = np.stack([(x == level).mean(axis=0) for level in range(5)], axis=-1)
        return Levels(shares[None])
    if family == "discretized_logistic":
        spread = np.sqrt(3 * (sigma**2 - 1 / 12)) / np.pi / 19
        return Levels(table_of_levels(mean / 19, spread, 20))
    assert family == "discretized_logistic_mixture"
    # The ends cut something off the spread; the components differ, or training could not tell them apart.
    np.testing.assert_allclose(float64(distribution.mean())[0], mean[0], atol=0.3)
    np.testing.assert_allclose(float64(distribution.stddev())[0], sigma[0], rtol=0.15)
    assert np.ptp(float64(distribution.loc), axis=-2).min() > 0.1
    return Levels(table_of_mixture(distribution))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_before_training_it_is_the_marginal(case):
    layer = case.make()
    vae, x = vae_of(layer, case.event_shape, case.features), data_of(case)
    vae.adapt(x)
    z = np.random.default_rng(1).normal(size=(ROWS, 2)).astype("float32")
    frozen = marginal_of(case, layer, vae.decode(z), x)
    score = frozen.logpmf if case.is_discrete else frozen.logpdf
    expected = -score(float64(x)).sum(axis=case.event_axes).mean()
    found = vae.evaluate(x, verbose=0, return_dict=True)
    assert found["nll"] == pytest.approx(expected, rel=1e-3 if case.correlation else 1e-5, abs=1e-5)
    assert found["kl"] == pytest.approx(0.0, abs=1e-6)
    assert np.ptp(float64(vae.decode(z).log_prob(x[:1]))) <= 1e-4 * abs(expected)  # whatever z


def test_biases_are_the_moments_of_each_element():
    x = np.random.default_rng(0).normal([3.0, -200.0, 1e4], [0.1, 30.0, 500.0], (ROWS, 3)).astype("float32")
    layer = layers.IndependentNormal(3)
    vae_of(layer, (3,)).adapt(x)
    mean, log_variance = np.split(np.asarray(layer.weights[-1]), 2)
    np.testing.assert_allclose(mean, x.astype("float64").mean(0), rtol=1e-6)
    np.testing.assert_allclose(log_variance, np.log(x.astype("float64").var(0) - 1e-6), rtol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "tanh", "relu", "exponential"])
def test_a_location_s_activation_is_inverted(activation):
    x = np.random.default_rng(0).uniform(0.2, 0.6, (ROWS, 3)).astype("float32")
    vae = vae_of(layers.IndependentNormal(3, activation=activation), (3,))
    vae.adapt(x)
    np.testing.assert_allclose(vae.decode(np.ones((1, 2))).mean()[0], x.mean(axis=0), rtol=1e-5)


def test_an_activation_without_a_known_inverse_is_said():
    vae = vae_of(layers.IndependentNormal(3, activation="softsign"), (3,))
    with pytest.warns(UserWarning, match="the inverse of its activation is not known"):
        vae.adapt(np.zeros((4, 3), "float32"))


def test_what_was_not_observed_is_left_out():
    x = np.random.default_rng(0).normal([5.0, -5.0, 0.0], 2.0, (ROWS, 3)).astype("float32")
    x[::3, 0], x[:, 2] = np.nan, np.nan
    inner = layers.IndependentNormal(3, scale=scales.PerDimension())
    keras.utils.set_random_seed(0)
    # NaN stays NaN when it is standardised, and 0 is then the mean.
    encoder = keras.Sequential(
        [keras.layers.Normalization(), layers.Impute(), keras.layers.Dense(8, "tanh"), layers.IndependentNormal(2)]
    )
    vae = keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(8, "tanh"), layers.Masked(inner)]), seed=0)
    vae.compile("adam", jit_compile=False)
    vae.adapt(x)
    mean, sigma = np.nanmean(x[:, :2], axis=0), np.nanstd(x[:, :2], axis=0)
    np.testing.assert_allclose(np.asarray(inner.weights[-1])[:2], mean, rtol=1e-5)
    np.testing.assert_allclose(inner.scale.value(), [*sigma, 1.0], rtol=1e-5)
    np.testing.assert_allclose(encoder.layers[0].adapt_mean, [*mean, 0.0], rtol=1e-5)
    expected = -np.nansum(scipy.stats.norm(mean, sigma).logpdf(x[:, :2]), axis=1).mean()
    assert vae.evaluate(x, verbose=0, return_dict=True)["nll"] == pytest.approx(expected, rel=1e-5)


def test_a_joint_is_adapted_part_by_part():
    rng = np.random.default_rng(0)
    x = {"age": rng.normal(40.0, 12.0, (ROWS, 1)).astype("float32"), "kind": rng.integers(0, 3, (ROWS, 2))}
    keras.utils.set_random_seed(0)
    inputs = {"age": keras.Input((1,), name="age"), "kind": keras.Input((2,), name="kind")}
    normalization = keras.layers.Normalization()
    features = keras.layers.Concatenate()([normalization(inputs["age"]), inputs["kind"]])
    encoder = keras.Model(inputs, layers.IndependentNormal(2)(keras.layers.Dense(8, "tanh")(features)))
    parts = {"age": layers.IndependentNormal(1), "kind": layers.IndependentCategorical(2, levels=3)}
    vae = keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(8, "tanh"), layers.Joint(parts)]), seed=0)
    vae.adapt(x)
    vae.compile("adam", jit_compile=False)  # after, which does as well
    shares = np.stack([(x["kind"] == level).mean(axis=0) for level in range(3)], axis=-1)
    expected = np.log(12.0), -(shares * np.log(shares)).sum()
    age = x["age"].astype("float64")
    expected = -scipy.stats.norm(age.mean(), age.std()).logpdf(age).mean() - (shares * np.log(shares)).sum()
    assert vae.evaluate(x, verbose=0, return_dict=True)["nll"] == pytest.approx(expected, rel=1e-5)
    assert float(normalization.adapt_mean[0]) == pytest.approx(age.mean(), rel=1e-6)


SUPPORTS = {
    "normal": (layers.IndependentNormal, 7.0),
    "bernoulli": (layers.IndependentBernoulli, 0.0),
    "bernoulli_of_ones": (layers.IndependentBernoulli, 1.0),
    "continuous_bernoulli": (layers.IndependentContinuousBernoulli, 1.0),
    "beta": (layers.IndependentBeta, 1e-6),
    "poisson": (layers.IndependentPoisson, 0.0),
    "negative_binomial": (layers.IndependentNegativeBinomial, 0.0),
    "zero_inflated": (layers.ZeroInflatedNegativeBinomial, 0.0),
    "student_t": (layers.IndependentStudentT, -3.0),
    "categorical": (lambda size: layers.IndependentCategorical(size, levels=4), 3.0),
    "discretized_logistic": (layers.DiscretizedLogistic, 255.0),
    "mixture": (layers.DiscretizedLogisticMixture, 0.0),
    "tril": (layers.MultivariateNormalTriL, 0.0),
    "low_rank": (lambda size: layers.MultivariateNormalLowRank(size, rank=2), 0.0),
}


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("name", SUPPORTS)
def test_columns_that_never_vary_and_single_rows_are_finite(name, rows):
    make, value = SUPPORTS[name]
    vae = vae_of(make(2), (2,))
    x = np.full((rows, 2), value, "float32")
    vae.adapt(x)
    assert np.isfinite([vae.evaluate(x, verbose=0)]).all()
    assert all(np.isfinite(weight).all() for weight in vae.get_weights())


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float64"])
def test_any_dtype_of_numbers_does(dtype):
    x = np.random.default_rng(0).integers(0, 2, (ROWS, 3)).astype(dtype)
    layer = layers.IndependentBernoulli(3)
    vae_of(layer, (3,)).adapt(x)
    logits = scipy.special.logit(x.astype("float64").mean(axis=0))
    np.testing.assert_allclose(np.asarray(layer.weights[-1]), logits, rtol=1e-5)


class Batches(keras.utils.PyDataset):
    """Rows of x, seven at a time."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return -(-len(self.x) // 7)

    def __getitem__(self, index):
        return self.x[7 * index : 7 * (index + 1)], np.zeros(len(self.x[7 * index : 7 * (index + 1)]))


KINDS = {
    "dataset": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(7),
    "labelled": lambda x: tf.data.Dataset.from_tensor_slices((x, x[:, 0])).batch(7),
    "py_dataset": Batches,
}


@pytest.mark.parametrize("kind", KINDS)
def test_moments_are_gathered_in_one_pass_over_any_data(kind):
    """Far from 0, where the mean of the squares less the square of the mean has lost its digits."""
    x = np.random.default_rng(0).normal(1e5, 0.5, (50, 2))
    first = moments_of(KINDS[kind](x), lambda batch: batch)
    np.testing.assert_allclose(first.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(first.variance, x.var(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(first.count, 50.0)
    np.testing.assert_array_equal(moments_of(KINDS[kind](x), lambda batch: batch, steps=3).count, 21.0)


def test_moments_of_parts_merge_to_those_of_all():
    x = np.random.default_rng(0).normal(size=(40, 2, 3))
    x[x > 1.5] = np.nan
    parts = Moments.of(x[:13]).merged(Moments.of(x[13:14])).merged(Moments.of(x[14:]))
    np.testing.assert_allclose(parts.mean, np.nanmean(x, axis=0))
    np.testing.assert_allclose(parts.variance, np.nanvar(x, axis=0))
    np.testing.assert_array_equal(parts.high, np.nanmax(x, axis=0))
    pooled = parts.pooled((1, 3))
    np.testing.assert_allclose(pooled.mean[0], np.nanmean(x, axis=(0, 1)))
    np.testing.assert_allclose(pooled.variance[0], np.nanvar(x, axis=(0, 1)))


def test_what_can_be_read_once_is_refused():
    vae = vae_of(layers.IndependentNormal(3), (3,))
    with pytest.raises(ValueError, match=r"expected x to be arrays, a tf.data.Dataset or a PyDataset.*a generator"):
        vae.adapt(np.zeros((4, 3), "float32") for _ in range(3))
    endless = tf.data.Dataset.from_tensor_slices(np.ones((4, 3), "float32")).batch(2).repeat()
    with pytest.raises(ValueError, match=r"expected `steps`.*no end"):
        vae.adapt(endless)
    vae.adapt(endless, steps=3)
    np.testing.assert_allclose(vae.decode(np.zeros((1, 2))).mean()[0], 1.0)


def test_data_that_cannot_be_scored_is_refused_as_in_fit():
    vae = vae_of(layers.IndependentPoisson(3), (3,))
    with pytest.raises(ValueError, match="IndependentPoisson scores counts"):
        vae.adapt(np.full((4, 3), -1.0, "float32"))


@keras.saving.register_keras_serializable("tests_of_adapting")
def cauchy(features):
    return keras_vae.backend.tfd.Independent(keras_vae.backend.tfd.Cauchy(features, 1.0), 1)


@pytest.mark.parametrize(
    ("likelihood", "reason"),
    [
        (lambda: layers.DistributionLambda(cauchy), "does not say which weights"),
        (lambda: layers.IndependentNormal(3, projection=False, scale=1.0), "with projection=False its parameters"),
    ],
)
def test_a_likelihood_that_cannot_be_adapted_is_said(likelihood, reason):
    vae = vae_of(likelihood(), (3,), features=(3,))
    before = [weight.copy() for weight in vae.decoder.get_weights()]
    with pytest.warns(UserWarning, match=reason):
        vae.adapt(np.ones((4, 3), "float32"))
    for weight, was in zip(vae.decoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def table(name):
    """scikit-learn's table, as it is."""
    return {"wine": load_wine, "breast_cancer": load_breast_cancer}[name]().data.astype("float32")


def table_vae(x, first=(), seed=0):
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential([*first, keras.layers.Dense(64, "relu"), layers.IndependentNormal(4)])
    decoder = keras.Sequential([keras.layers.Dense(64, "relu"), layers.IndependentNormal(x.shape[1])])
    vae = keras_vae.VAE(encoder, decoder, seed=seed)
    vae.compile("adam")
    return vae


def normalization():
    return [keras.layers.Normalization()]


@pytest.mark.parametrize("first", [list, normalization])
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_tables_as_they_are_train(name, first):
    x = table(name)
    vae = table_vae(x, first())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        vae.adapt(x)
    before = vae.evaluate(x, verbose=0, return_dict=True)["loss"]
    assert before == pytest.approx(-scipy.stats.norm(x.mean(0), x.std(0)).logpdf(x).sum(axis=1).mean(), rel=0.01)
    losses = vae.fit(x, epochs=25, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < before - 0.5 and max(losses) < before + 5.0


def test_weights_of_an_adapted_model_are_those_that_a_traced_one_answers_by(tmp_path):
    """In a program a Normalization's mean is a constant."""
    x = table("wine")

    def made():
        encoder = keras.Sequential([keras.layers.Normalization(), keras.layers.Dense(3), layers.IndependentNormal(2)])
        vae = keras_vae.VAE(encoder, keras.Sequential([layers.IndependentNormal(13)]), seed=0)
        vae.compile("sgd", jit_compile=False)
        return vae

    adapted, traced = made(), made()
    adapted.adapt(x)
    adapted.encoder.layers[1].kernel.assign(np.eye(13, 3))
    adapted.encoder.layers[2].set_weights([np.ones((3, 4)), np.zeros(4)])
    adapted.save_weights(tmp_path / "adapted.weights.h5")
    traced.build(x.shape)
    for ask in (traced.encode, lambda x: traced.transform(x, verbose=0), lambda x: traced.evaluate(x, verbose=0)):
        ask(x)
    traced.load_weights(tmp_path / "adapted.weights.h5")
    np.testing.assert_allclose(traced.encode(x).mean(), adapted.encode(x).mean(), rtol=1e-5)
    np.testing.assert_allclose(traced.transform(x, verbose=0), adapted.transform(x, verbose=0), rtol=1e-5)
    np.testing.assert_allclose(traced.evaluate(x, verbose=0), adapted.evaluate(x, verbose=0), rtol=1e-5)


def test_without_it_wine_does_not():
    """What the tests above are there for: the same model, and no `adapt`."""
    x = table("wine")
    with (
        pytest.warns(UserWarning, match="columns of x lie orders of magnitude apart"),
        pytest.warns(RuntimeWarning, match=r"fit: not finite: in epoch 1, loss and .*vae\.adapt\(x\)"),
    ):
        assert not np.isfinite(table_vae(x).fit(x, epochs=1, verbose=0).history["loss"]).all()


def test_a_dense_first_layer_gets_weights_in_units_of_the_columns():
    x = table("wine")
    vae = table_vae(x)
    vae.adapt(x)
    dense = vae.encoder.layers[0]
    standardised = (x - x.mean(axis=0)) / x.std(axis=0)
    kernel = np.asarray(dense.kernel) * x.std(axis=0)[:, None]
    np.testing.assert_allclose(standardised @ kernel, x @ dense.kernel + dense.bias, atol=2e-2)
    np.testing.assert_allclose(np.sqrt(np.mean(kernel**2, axis=1)), np.sqrt(2 / (13 + 64)), rtol=1e-3)


@pytest.mark.parametrize("first", [list, normalization])
def test_to_adapt_anew_is_to_start_anew(first):
    x = table("wine")
    once, twice = table_vae(x, first()), table_vae(x, first())
    twice.adapt(10.0 * x[:50] + 3.0)
    twice.evaluate(x, verbose=0)  # makes programs
    for vae in (once, twice):
        vae.adapt(x)
    for one, other in zip(once.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    assert once.evaluate(x, verbose=0) == pytest.approx(twice.evaluate(x, verbose=0), rel=1e-5)
    np.testing.assert_allclose(once.encode(x).mean(), twice.encode(x).mean(), atol=1e-6)


def test_a_normalization_that_has_its_moments_keeps_them():
    x = table("wine")
    given = keras.layers.Normalization(mean=0.0, variance=4.0)
    vae = table_vae(x, [given])
    vae.adapt(x)
    assert float(keras.ops.max(given.variance)) == 4.0
    adapted = keras.layers.Normalization()
    adapted.adapt(2.0 * x)
    vae = table_vae(x, [adapted])
    vae.adapt(x)
    np.testing.assert_allclose(adapted.adapt_mean, 2.0 * x.mean(axis=0), rtol=1e-4)


def test_a_first_layer_that_cannot_be_scaled_for_is_said():
    x = table("wine")
    vae = table_vae(x, [layers.Impute()])
    with pytest.warns(UserWarning, match=r"columns of x.*columns 3, 4, 12\).*keras.layers.Normalization\(\), which"):
        vae.adapt(x)


def test_adapted_weights_are_saved(tmp_path):
    x = table("wine")
    vae = table_vae(x, normalization())
    vae.adapt(x)
    vae.save(tmp_path / "vae.keras")
    loaded = keras_vae.load_model(tmp_path / "vae.keras")
    for one, other in zip(vae.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.evaluate(x, verbose=0) == pytest.approx(vae.evaluate(x, verbose=0), rel=1e-6)


def test_under_a_strategy():
    x = table("wine")
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        vae = table_vae(x, normalization())
    vae.adapt(x)
    found = vae.evaluate(x, verbose=0, return_dict=True)
    expected = -scipy.stats.norm(x.mean(0), x.std(0)).logpdf(x).sum(axis=1).mean()
    assert found["nll"] == pytest.approx(expected, rel=1e-3)
    assert found["kl"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("first", [list, normalization])
@pytest.mark.parametrize("kind", ["reals", "counts"])
def test_twenty_thousand_columns_train(kind, first, seed):
    rng = np.random.default_rng(seed)
    z, weights = rng.normal(size=(256, 5)), rng.normal(size=(5, 20000))
    if kind == "reals":
        x = z @ weights / np.sqrt(10) + rng.normal(size=(256, 20000)) / np.sqrt(2)
        likelihood = layers.IndependentNormal(20000)
    else:
        x = rng.poisson(np.exp(0.3 * z @ weights + 1.5 * rng.normal(size=20000) - 0.5))
        likelihood = layers.IndependentNegativeBinomial(20000, scale=scales.PerDimension())
    x = x.astype("float32")
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential([*first(), keras.layers.Dense(64, "relu"), layers.IndependentNormal(4)])
    vae = keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(64, "relu"), likelihood]), seed=seed)
    vae.compile("adam")
    vae.adapt(x)
    before = vae.evaluate(x, verbose=0, return_dict=True)["loss"]
    losses = vae.fit(x, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[4] < before
