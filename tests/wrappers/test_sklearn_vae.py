"""SKLearnVAE as people use it: densities against closed forms, pipelines, searches, copies, recipes of one's own."""

import copy
import functools
import importlib.util
import pickle
import random
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.utils.validation
from scipy.integrate import trapezoid
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from small import LinearGaussian

import keras_vae
from keras_vae.wrappers import SKLearnVAE

X, Y = load_wine(return_X_y=True)  # 178 rows, 13 features of scales from 0.1 to 300


def small(**kwargs):
    """An estimator that is soon fitted: most of the time is tracing."""
    return SKLearnVAE(
        **{
            "latent_dim": 2,
            "units": (8,),
            "epochs": 2,
            "batch_size": 64,
            "num_samples": 50,
            "random_state": 0,
            **kwargs,
        }
    )


@functools.cache
def fitted():
    """One that many tests ask, and none changes."""
    return small(units=(16,), epochs=30).fit(X)


# Densities.


def exact(model):
    """A recipe whose VAE is a linear-Gaussian model with its true posterior, and stays it."""

    def recipe(X):
        vae = model.vae()
        vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        return vae

    return recipe


def test_score_samples_is_the_exact_density_where_that_is_known():
    """One draw will do: with the true posterior every importance weight is p(x) itself."""
    model = LinearGaussian()
    x = model.sample(300)
    estimator = SKLearnVAE(exact(model), epochs=1, num_samples=1).fit(x)
    np.testing.assert_allclose(estimator.score_samples(x), model.log_prob(x), rtol=1e-9)
    np.testing.assert_allclose(estimator.score(x), model.log_prob(x).mean(), rtol=1e-9)
    means = (x - model.bias) @ model.encoder_weights
    np.testing.assert_allclose(estimator.transform(x), means, atol=1e-6)
    np.testing.assert_allclose(estimator.inverse_transform(means), means @ model.weights.T + model.bias, atol=1e-6)


def test_score_samples_is_what_the_vae_says_in_the_units_of_x():
    estimator = fitted()
    """To Monte Carlo's error, 0.02 nats a row and ten times that where weights vary most; both seeds are fixed."""
    of_vae = estimator.vae_.log_likelihood(estimator.scaler_.transform(X), num_samples=5000, seed=0, verbose=0)
    expected = of_vae - np.log(X.std(axis=0)).sum()
    found = copy.copy(estimator).set_params(num_samples=5000)
    errors = np.abs(found.score_samples(X) - expected)
    assert np.quantile(errors, 0.9) < 0.1 and errors.max() < 0.5
    assert found.score(X) == pytest.approx(expected.mean(), abs=0.03)


def test_a_density_of_one_feature_integrates_to_one():
    """In its own units, by the trapezoid rule; weighting by importance is unbiased at each point."""
    x = 1000.0 + 200.0 * np.random.default_rng(0).gamma(2.0, size=(200, 1))
    estimator = small(latent_dim=1, epochs=20, num_samples=500).fit(x)
    grid = np.linspace(-2000.0, 6000.0, 2001)
    density = np.exp(estimator.score_samples(grid[:, None]))
    assert trapezoid(density, grid) == pytest.approx(1.0, abs=0.02)


def test_units_of_x_change_a_density_by_their_jacobian_alone():
    scale, offset = np.geomspace(1e-6, 1e6, X.shape[1]), np.linspace(-1e6, 1e6, X.shape[1])
    # Where numbers are kept: what is left of an offset of 1e6 has ten digits.
    scale = np.maximum(scale, 1e-2)
    other = small(units=(16,), epochs=30).fit(X * scale + offset)
    found, expected = other.score_samples(X * scale + offset), fitted().score_samples(X) - np.log(scale).sum()
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_without_hidden_layers_it_is_factor_analysis():
    """Its mean log p(x) comes within 0.05 nats of the maximum, where two factors are worth 1.0; 0.02, as measured."""
    random_state = np.random.default_rng(0)
    x = random_state.normal(size=(500, 2)) @ random_state.normal(size=(2, 6)) + 0.5 * random_state.normal(size=(500, 6))
    x *= np.geomspace(0.1, 100.0, 6)
    estimator = SKLearnVAE(
        latent_dim=2, units=(), learning_rate=0.02, epochs=150, batch_size=100, random_state=0, num_samples=200
    ).fit(x)
    scaler = StandardScaler().fit(x)
    factors = FactorAnalysis(2, tol=1e-3, max_iter=5000).fit(scaler.transform(x))
    best = factors.score(scaler.transform(x)) - np.log(scaler.scale_).sum()
    none = multivariate_normal(x.mean(axis=0), np.diag(x.var(axis=0))).logpdf(x).mean()
    found = estimator.score(x)
    assert best - 0.05 < found < best + 1e-3
    assert none < best - 0.9


def test_samples_have_the_fitted_law_s_moments():
    """Of a linear model, N(b, W W' + Psi): within 5 standard errors of 4,000 draws, a false alarm in 1e5 runs."""
    estimator = small(units=(), epochs=20, learning_rate=0.02).fit(X)
    projection, bias, raw = (np.asarray(each, "float64") for each in weights_of(estimator))
    noise = np.exp(raw) + 1e-6
    mean = estimator.scaler_.inverse_transform(bias[None])[0]
    covariance = (projection.T @ projection + np.diag(noise)) * np.outer(*2 * [estimator.scaler_.scale_])
    drawn = estimator.sample(4000, random_state=0)
    assert drawn.shape == (4000, 13) and drawn.dtype == "float64"
    spread = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(drawn.mean(axis=0) - mean) < 5 * spread / np.sqrt(4000))
    error = np.sqrt((np.outer(spread**2, spread**2) + covariance**2) / 4000)
    assert np.all(np.abs(np.cov(drawn.T) - covariance) < 5 * error)


def weights_of(estimator):
    """W, b and log sigma^2 of a decoder without hidden layers."""
    weights = {weight.shape: weight for weight in estimator.vae_.decoder.weights if "kernel" in weight.path}
    (kernel,) = weights.values()
    bias = next(weight for weight in estimator.vae_.decoder.weights if "bias" in weight.path)
    raw = next(weight for weight in estimator.vae_.decoder.weights if "raw_log_variance" in weight.path)
    return kernel, bias, raw


def test_equal_rows_have_equal_scores_wherever_they_stand():
    estimator, order = fitted(), np.random.default_rng(0).permutation(len(X))
    scores = estimator.score_samples(X)
    np.testing.assert_array_equal(estimator.score_samples(X), scores)
    np.testing.assert_allclose(estimator.score_samples(X[order]), scores[order], rtol=1e-6)
    np.testing.assert_allclose(estimator.score_samples(np.tile(X, (2, 1)))[len(X) :], scores, rtol=1e-6)
    np.testing.assert_allclose(estimator.score_samples(X[:1]), scores[:1], rtol=1e-6)


# In scikit-learn's company.


def test_in_a_pipeline_under_cross_validation():
    """Of two halves, each scored by what was learned of the other: better than by standard normal features."""
    pipeline = make_pipeline(StandardScaler(), small(epochs=60, learning_rate=1e-2))
    scores = cross_val_score(pipeline, X, cv=KFold(2, shuffle=True, random_state=0))
    none = multivariate_normal(np.zeros(13), np.eye(13)).logpdf(StandardScaler().fit_transform(X)).mean()
    assert scores.shape == (2,) and np.all(scores > none)


def test_a_grid_search_over_the_number_of_latents():
    search = GridSearchCV(small(units=()), {"latent_dim": [1, 3]}, cv=2).fit(X)
    best = search.best_params_["latent_dim"]
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert search.transform(X).shape == (178, best)


@pytest.mark.slow
def test_a_grid_search_in_two_processes():
    searches = [
        GridSearchCV(small(), {"latent_dim": [1, 2]}, cv=2, n_jobs=n_jobs, error_score="raise").fit(X)
        for n_jobs in (None, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_allclose(one, two, rtol=1e-4)


def test_a_classifier_on_its_latents_beats_chance():
    """0.8 and more of the test rows, where the largest class has 0.4 of them."""
    train, test, y_train, y_test = train_test_split(X, Y, random_state=0, stratify=Y)
    pipeline = make_pipeline(small(latent_dim=4, epochs=60, learning_rate=1e-2, batch_size=32), LogisticRegression())
    assert pipeline.fit(train, y_train).score(test, y_test) > 0.8


def test_names_go_in_and_out():
    frame = load_iris(as_frame=True).data
    estimator = small(epochs=1).set_output(transform="pandas").fit(frame)
    z = estimator.transform(frame)
    assert list(z.columns) == list(estimator.get_feature_names_out()) == ["sklearnvae0", "sklearnvae1"]
    assert isinstance(z, pd.DataFrame) and list(estimator.feature_names_in_) == list(frame.columns)
    assert estimator.inverse_transform(z).shape == frame.shape
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.score_samples(frame[frame.columns[::-1]])


def test_it_gives_arrays_from_within_whatever_users_are_given():
    with sklearn.config_context(transform_output="pandas"):
        estimator = small(epochs=1).fit(X)
        z = estimator.transform(X)
        assert isinstance(z, pd.DataFrame)
        assert isinstance(estimator.score_samples(X), np.ndarray) and isinstance(estimator.sample(2), np.ndarray)
        assert isinstance(estimator.inverse_transform(z), np.ndarray)


def test_results_have_the_dtype_of_x():
    for dtype in ("float32", "float64"):
        z = fitted().transform(X.astype(dtype))
        assert z.dtype == fitted().inverse_transform(z).dtype == dtype
    assert fitted().score_samples(X.astype("float32")).dtype == "float64"


def test_copies():
    estimator = fitted()
    new = clone(estimator)
    assert new.get_params() == estimator.get_params()
    with pytest.raises(NotFittedError):
        new.score_samples(X)
    same = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_allclose(same.transform(X), estimator.transform(X), rtol=1e-6)
    np.testing.assert_allclose(same.score_samples(X), estimator.score_samples(X), rtol=1e-6)
    np.testing.assert_allclose(same.sample(3, random_state=1), estimator.sample(3, random_state=1), rtol=1e-6)


def global_state():
    """Of NumPy's own generator, which scikit-learn takes by default."""
    return check_random_state(None).get_state()[1].tolist()


def test_a_seed_decides_a_fit_and_leaves_other_generators_alone():
    before = random.getstate(), global_state()
    one, same, other = (small(random_state=seed).fit(X) for seed in (3, np.random.RandomState(3), 4))
    assert (random.getstate(), global_state()) == before
    np.testing.assert_array_equal(one.transform(X), same.transform(X))
    np.testing.assert_array_equal(one.score_samples(X), same.score_samples(X))
    np.testing.assert_array_equal(one.sample(3, random_state=0), same.sample(3, random_state=0))
    assert not np.allclose(one.transform(X), other.transform(X))
    assert not np.allclose(one.sample(3, random_state=0), one.sample(3, random_state=1))


def test_a_fit_stops_early_and_says_how_it_went():
    stop = keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=0)
    estimator = small(epochs=200, learning_rate=0.1).fit(X, validation_split=0.3, callbacks=[stop])
    assert {"loss", "elbo", "nll", "kl", "val_elbo"} <= set(estimator.history_)
    assert 1 < len(estimator.history_["val_elbo"]) < 200


@pytest.mark.parametrize(("steps", "is_xla"), [(4999, False), (5000, True)])
def test_xla_is_for_fits_that_are_long(steps, is_xla):
    assert small()._make(X, steps).jit_compile == is_xla


def test_a_number_of_draws_that_was_set_after_a_fit_is_checked():
    with pytest.raises(ValueError, match="expected `num_samples` to be an integer >= 1; received: 0"):
        copy.copy(fitted()).set_params(num_samples=0).score_samples(X)


# What X may be.


def test_missing_entries_are_left_out():
    """A row's score is that of what was observed: nothing, where nothing was."""
    holes = np.where(np.random.default_rng(0).uniform(size=X.shape) < 0.2, np.nan, X)
    holes[5] = np.nan
    estimator = small(units=(16,), epochs=30).fit(holes)
    scores = estimator.score_samples(holes)
    assert np.all(np.isfinite(scores)) and np.isfinite(estimator.transform(holes)).all()
    assert scores[5] == pytest.approx(0.0, abs=0.5)
    filled = estimator.inverse_transform(estimator.transform(holes))
    missing = np.isnan(holes)
    missing[5] = False
    errors = ((filled - X) / X.std(axis=0))[missing], ((X.mean(axis=0) - X) / X.std(axis=0))[missing]
    assert np.mean(errors[0] ** 2) < np.mean(errors[1] ** 2)
    # One that has seen no hole takes them as well.
    assert np.isfinite(fitted().score_samples(holes)).all()
    with pytest.raises(ValueError, match="expected X to have an entry that was observed; received only missing ones"):
        small().fit(np.full((3, 2), np.nan))


def test_counts_are_scored_as_they_are():
    counts = np.random.default_rng(0).poisson([1.0, 50.0, 3.0], size=(200, 3))
    estimator = small(likelihood=keras_vae.layers.IndependentPoisson).fit(counts)
    assert estimator.scaler_.scale_ is None
    assert np.all(estimator.score_samples(counts) < 0)  # probabilities
    same = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_allclose(same.transform(counts), estimator.transform(counts), rtol=1e-6)
    drawn = estimator.sample(50, random_state=0)
    assert np.all(drawn >= 0) and np.all(drawn == np.round(drawn))
    with pytest.raises(ValueError, match="IndependentPoisson scores counts: whole numbers"):
        estimator.fit(counts + 0.5)


def test_a_likelihood_whose_elements_go_together():
    estimator = small(likelihood=keras_vae.layers.MultivariateNormalTriL, epochs=1).fit(X)
    assert np.isfinite(estimator.score(X))
    assert estimator.scaler_.scale_ is not None


# Recipes.


def on_a_grid(X, latent_dim, beta=1.0):
    """Latents of two axes, and a compiled VAE."""
    encoder = keras.Sequential([keras_vae.layers.IndependentNormal((latent_dim, 2))])
    decoder = keras.Sequential([keras.layers.Flatten(), keras_vae.layers.IndependentNormal(X.shape[1])])
    return keras_vae.VAE(encoder, decoder, objective=keras_vae.objectives.ELBO(beta))


def test_a_recipe_is_given_what_it_names_and_x_as_it_is():
    estimator = small(model=on_a_grid, units=(64, 64), latent_dim=3, beta=0.5).fit(X / X.max(axis=0))
    assert estimator.vae_.objective.term_weights["kl"] == 0.5
    assert estimator.scaler_.scale_ is None
    z = estimator.transform(X)
    assert z.shape == (178, 6) and len(estimator.get_feature_names_out()) == 6
    assert estimator.inverse_transform(z).shape == X.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 0}, "expected `latent_dim` to be an integer >= 1; received: 0"),
        ({"units": (8, 0)}, r"expected `units` to be the sizes .* received: \(8, 0\)"),
        ({"units": "8"}, "expected `units` to be the sizes"),
        ({"epochs": 1.5}, "expected `epochs` to be an integer >= 1; received: 1.5"),
        ({"batch_size": -1}, "expected `batch_size` to be an integer >= 1; received: -1"),
        ({"num_samples": 0}, "expected `num_samples` to be an integer >= 1; received: 0"),
        ({"learning_rate": 0}, "expected `learning_rate` to be a positive, finite number; received: 0"),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
        ({"likelihood": "normal"}, "expected `likelihood` to be a callable .*; received: 'normal'"),
        ({"likelihood": lambda size: size}, "expected `likelihood` to be a callable .*; it made: 13"),
        ({"model": 3}, "expected `model` to be None or a callable .*; received: 3"),
        ({"model": lambda X: X.shape}, "expected `model` to return a keras_vae.VAE"),
        ({"model": lambda X: None, "beta": 2.0}, "expected `beta` at its default, 1.0, unless `model` names it"),
        (
            {"model": exact(LinearGaussian(13)), "learning_rate": 0.1},
            "expected `learning_rate` at its default, 0.003, unless `model` leaves its VAE to be compiled",
        ),
    ],
)
def test_arguments_are_refused_in_fit(arguments, message):
    defaults = {"latent_dim": 8, "units": (64, 64)} if "model" in arguments else {}
    with pytest.raises(ValueError, match=message):
        small(**defaults).set_params(**arguments).fit(X)


def test_a_fit_that_fails_leaves_what_was_fitted():
    estimator = copy.copy(fitted())
    with pytest.raises(ValueError, match="expected `beta`"):
        estimator.set_params(model=lambda X: None, latent_dim=8, units=(64, 64), beta=2.0).fit(2.0 * X)
    np.testing.assert_array_equal(estimator.transform(X), fitted().transform(X))


def test_latents_of_another_number_are_refused():
    with pytest.raises(ValueError, match="expected 2 latents a row, as `transform` gives them; received: 3"):
        fitted().inverse_transform(np.zeros((1, 3)))


@pytest.mark.parametrize("is_old", [True, False])
def test_without_scikit_learn_the_import_says_so(is_old, monkeypatch):
    if is_old:
        monkeypatch.delattr(sklearn.utils.validation, "validate_data")
    else:
        monkeypatch.setitem(sys.modules, "sklearn.utils.validation", None)
    spec = sys.modules["keras_vae.wrappers"].__spec__
    message = (
        r"expected scikit-learn 1.6 or newer; received: .*sklearn.utils.validation.*pip install .keras_vae\[sklearn"
    )
    with pytest.raises(ImportError, match=message):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
