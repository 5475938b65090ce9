"""The optimal scale: the maximum likelihood of a training batch, and what is kept of it."""

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import small
from referees import table_of_levels

import keras_vae
from keras_vae import layers, scales

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(16, 5)).astype("float32")
X = RNG.normal(size=(16, 3, 2)).astype("float32")

FAMILIES = {
    "normal": (layers.IndependentNormal, scipy.stats.norm),
    "laplace": (layers.IndependentLaplace, scipy.stats.laplace),
    "logistic": (layers.IndependentLogistic, scipy.stats.logistic),
    "student_t": (lambda *args, **kwargs: layers.IndependentStudentT(*args, df=4.0, **kwargs), None),
}


def train_on(layer, features, x):
    """Scores a training batch and takes what its sigma was fitted to, as a step does; log p."""
    distribution, fits = layer(features, training=True).fitted_to(x)
    for fit in fits:
        fit.commit()
    return distribution.log_prob(x)


def scipys(family, loc, sigma):
    frozen = FAMILIES[family][1]
    return scipy.stats.t(4.0, loc, sigma) if frozen is None else frozen(loc, sigma)


def best(family, residual):
    """The sigma of greatest likelihood, by SciPy's own minimiser."""
    found = scipy.optimize.minimize_scalar(
        lambda log_sigma: -scipys(family, 0.0, np.exp(log_sigma)).logpdf(residual).sum(),
        bounds=(-6, 6),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return np.exp(found.x)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("axis", [None, -1], ids=["one", "a_channel"])
def test_a_training_batch_is_scored_with_the_sigma_of_greatest_likelihood(family, axis):
    layer = FAMILIES[family][0]((3, 2), scale=scales.Optimal(axis=axis, floor=1e-9))
    loc = np.float64(layer(FEATURES).mean())
    residual = X - loc
    if axis is None:
        sigma = best(family, residual)
    else:
        sigma = np.array([[best(family, residual[..., channel]) for channel in range(2)]])
    log_prob = train_on(layer, FEATURES, X)
    np.testing.assert_allclose(log_prob, scipys(family, loc, sigma).logpdf(X).sum(axis=(1, 2)), rtol=2e-5)
    # The first batch is the estimate: an average of one.
    np.testing.assert_allclose(layer.scale.value(), sigma, rtol=2e-5)


def test_of_levels_it_is_that_of_greatest_likelihood_too():
    scale = scales.Optimal(floor=1e-9)
    layer = layers.DiscretizedLogistic((3, 2), levels=20, scale=scale, activation="sigmoid", dtype="float64")
    distribution = layer(FEATURES, training=True)
    loc = np.asarray(distribution.distribution.loc)
    x = np.clip(np.round(19 * loc + 2 * RNG.normal(size=loc.shape)), 0, 19)

    def nll(log_scale):
        levels = table_of_levels(loc, np.full(loc.shape, np.exp(log_scale)), 20)
        return -np.log(np.take_along_axis(levels, x.astype(int)[..., None], axis=-1)).sum()

    found = scipy.optimize.minimize_scalar(nll, bounds=(-6, 1), method="bounded", options={"xatol": 1e-10})
    np.testing.assert_allclose(-train_on(layer, FEATURES, x).numpy().sum(), found.fun, rtol=1e-9)
    np.testing.assert_allclose(scale.value(), np.exp(found.x), rtol=1e-6)


def test_what_is_scored_outside_training_has_the_estimate_that_training_left():
    layer = layers.IndependentNormal((3, 2), scale=scales.Optimal())
    before = layer(FEATURES).stddev().numpy()
    np.testing.assert_allclose(before, np.ones_like(before), rtol=1e-6)
    train_on(layer, FEATURES, X)
    kept = float(layer.scale.value())
    layer(FEATURES).log_prob(100 * X)
    assert float(layer.scale.value()) == kept
    np.testing.assert_allclose(layer(FEATURES).stddev(), np.full((16, 3, 2), kept), rtol=1e-6)


def test_the_estimate_is_an_unbiased_moving_average():
    layer = layers.IndependentNormal((3, 2), scale=scales.Optimal(momentum=0.75, floor=1e-9))
    squares = []
    for factor in (1.0, 3.0, 2.0):
        train_on(layer, FEATURES, factor * X)
        squares.append(np.mean((factor * X - np.float64(layer(FEATURES).mean())) ** 2))
    weights = 0.25 * 0.75 ** np.array([2, 1, 0])
    expected = np.sqrt(np.dot(weights, squares) / weights.sum())
    np.testing.assert_allclose(layer.scale.value(), expected, rtol=1e-5)


def test_data_that_is_fitted_exactly_meets_the_floor():
    layer = layers.IndependentNormal((3, 2), scale=scales.Optimal(floor=0.01))
    exact = layer(FEATURES).mean().numpy()
    log_prob = train_on(layer, FEATURES, exact)
    np.testing.assert_allclose(log_prob, scipy.stats.norm(exact, 0.01).logpdf(exact).sum(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_vae_trains_with_it_reports_it_and_keeps_it(jit_compile, tmp_path):
    x = small.digits()[:400]
    vae = small.gaussian_vae(scale=scales.Optimal(), objective=keras_vae.objectives.ELBO(num_samples=2))
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    history = vae.fit(x, batch_size=100, epochs=15, verbose=0).history
    sigma = float(vae.decoder.layers[-1].scale.value())
    assert history["sigma"][-1] == pytest.approx(sigma, rel=1e-6)
    # What it settles at is the error that is made: of draws, by their spread around the data.
    residual = x - np.asarray(vae.reconstruct(x))
    assert np.sqrt(np.mean(residual**2)) < sigma < 1.3 * np.sqrt(np.mean(residual**2))
    assert history["elbo"][-1] > history["elbo"][0]
    result = vae.evaluate(x, verbose=0, return_dict=True)
    assert result["sigma"] == pytest.approx(sigma, rel=1e-6)
    vae.save(tmp_path / "vae.keras")
    copy = keras.saving.load_model(tmp_path / "vae.keras")
    assert float(copy.decoder.layers[-1].scale.value()) == pytest.approx(sigma, rel=1e-7)


def test_it_is_no_scale_for_a_posterior():
    encoder = keras.Sequential([keras.layers.Flatten(), layers.IndependentNormal(2, scale=scales.Optimal())])
    decoder = keras.Sequential([layers.IndependentNormal((8, 8, 1))])
    vae = keras_vae.VAE(encoder, decoder)
    vae.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=r"reparameterized distribution.*Optimal\(\) is for a likelihood"):
        vae.fit(small.digits()[:64], verbose=0)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, "0.9", True])
def test_a_momentum_that_is_none_is_refused(momentum):
    with pytest.raises(ValueError, match=r"Optimal: expected `momentum` to be a number in \[0, 1\)"):
        scales.Optimal(momentum=momentum)


@pytest.mark.parametrize("kind", [scales.Shared, scales.Optimal])
@pytest.mark.parametrize("axis", [2, -3, "channel", 1.5])
def test_an_axis_that_the_event_lacks_is_refused(kind, axis):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: expected `axis` to be None, or an axis of the event"):
        kind(axis=axis).build((3, 2))


def test_a_column_that_a_batch_never_shows_leaves_its_estimate_alone():
    """One sigma a column, of which the third is missing from every other batch."""
    layer = layers.Masked(layers.IndependentNormal(3, scale=scales.Optimal(axis=-1, floor=1e-9), projection=False))
    rng, scale = np.random.default_rng(0), layer.likelihood.scale
    for step in range(40):
        x = rng.normal(0, 2.0, (256, 3)).astype("float32")
        x[:, 2] = x[:, 2] if step % 2 else np.nan
        train_on(layer, np.zeros((256, 3), "float32"), x)
    np.testing.assert_allclose(scale.value(), np.full(3, 2.0), rtol=0.06)  # 5 standard errors


def test_a_column_that_was_never_shown_keeps_its_first_estimate():
    layer = layers.Masked(layers.IndependentNormal(2, scale=scales.Optimal(axis=-1), projection=False))
    x = np.stack([np.full(8, 3.0), np.full(8, np.nan)], axis=-1).astype("float32")
    train_on(layer, np.zeros((8, 2), "float32"), x)
    np.testing.assert_allclose(layer.likelihood.scale.value(), [3.0, 1.0], rtol=1e-5)


def test_a_number_that_is_not_finite_is_not_taken():
    scale = scales.Optimal()
    scale.build(())
    for log_sigma in (0.5, np.nan, np.inf, 0.5):
        scale.observe(keras.ops.convert_to_tensor(log_sigma, "float32"))
    np.testing.assert_allclose(scale.value(), np.exp(0.5), rtol=1e-5)


def test_one_scale_of_several_layers():
    """A single sigma may be shared by events of any shape; one along an axis by events of one shape."""
    scale = keras_vae.scales.Optimal()
    parts = {"a": keras_vae.layers.IndependentNormal(5, scale=scale)}
    parts["b"] = keras_vae.layers.IndependentNormal((2, 3), scale=scale)
    x = {"a": np.ones((4, 5), "float32"), "b": 3 * np.ones((4, 2, 3), "float32")}
    joint = keras_vae.layers.Joint(parts)
    _, fits = joint(np.zeros((4, 2), "float32"), training=True).fitted_to(x)
    for fit, expected in zip(fits, (1.0, 3.0), strict=True):  # the locations begin at 0
        np.testing.assert_allclose(np.exp(fit.log_scale), expected, rtol=1e-5)
    along = keras_vae.scales.Optimal(axis=-1)
    keras_vae.layers.IndependentNormal(5, scale=along).build((None, 2))
    with pytest.raises(ValueError, match="Optimal: expected one event shape wherever the scale is used; received"):
        keras_vae.layers.IndependentNormal(4, scale=along).build((None, 2))
