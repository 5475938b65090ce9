"""What is asked of data of any size: latents, densities of elements, what is missing; against exact answers."""

import concurrent.futures
import threading

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from keras import layers
from scipy import stats
from small import digits, gaussian_vae

import keras_vae
from keras_vae.layers import Impute, IndependentBernoulli, IndependentCategorical, IndependentNormal, Joint, Masked

X = digits()[:70]


@pytest.fixture(scope="module")
def vae():
    vae = gaussian_vae()
    vae.compile("adam", jit_compile=False)
    vae.fit(X, verbose=0)
    return vae


# Latents.


def test_transform_gives_the_means_of_the_posterior(vae, capsys):
    means = vae.transform(X, batch_size=16)
    assert isinstance(means, np.ndarray) and means.shape == (70, 3)
    np.testing.assert_allclose(means, vae.encode(X).mean(), rtol=1e-4, atol=1e-6)
    assert "5/5" in capsys.readouterr().out
    data = tf.data.Dataset.from_tensor_slices(X).batch(32)
    np.testing.assert_allclose(vae.transform(data, verbose=0), means, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"decoder's event shape, \(8, 8, 1\); received x of shape \(8, 8\)"):
        vae.transform(X[..., 0], verbose=0)


def test_transform_of_sparse_rows():
    vae = gaussian_vae((64,))
    flat = X.reshape(70, 64)
    found = vae.transform(scipy.sparse.csr_array(flat), verbose=0)
    np.testing.assert_allclose(found, vae.transform(pd.DataFrame(flat), verbose=0), rtol=1e-5)


# Elements.


def test_elements_add_up_to_the_nll(vae):
    found = vae.log_prob_of_elements(X, num_samples=2000, verbose=0, seed=0)
    assert found.shape == X.shape
    passes = [vae.forward_pass(X, np.array([number, 1], "int32")) for number in range(50)]
    log_p = np.concatenate([np.asarray(forward.log_likelihood) for forward in passes])
    # Both by draws. Of 70 sums none is five standard errors off, but for one run in 20,000.
    error = log_p.std(0) * np.sqrt(1 / 50 + 1 / 2000)
    assert (np.abs(found.sum(axis=(1, 2, 3)) - log_p.mean(0)) < 5 * error).all()
    np.testing.assert_array_equal(found, vae.log_prob_of_elements(X, num_samples=2000, verbose=0, seed=0))


def test_a_strange_pixel_has_the_lowest_score(vae):
    strange = X.copy()
    strange[:, 4, 4, 0] = 30.0
    scores = vae.log_prob_of_elements(strange, num_samples=20, verbose=0, seed=0)
    assert (scores.reshape(70, -1).argmin(axis=1) == 4 * 8 + 4).all()


def test_elements_of_a_multivariate_normal_are_not_scored_apart():
    vae = keras_vae.VAE(
        keras.Sequential([IndependentNormal(2)]), keras.Sequential([keras_vae.layers.MultivariateNormalTriL(4)])
    )
    with pytest.raises(ValueError, match="expected a distribution of independent elements"):
        vae.log_prob_of_elements(X.reshape(-1, 4)[:20], num_samples=3, verbose=0)


# What is missing: factor analysis, x = W z + mu + sigma e, of which every conditional is known.

RNG = np.random.default_rng(3)
W, MU, SIGMA = RNG.normal(size=(5, 2)), RNG.normal(size=5), 0.3


class TrueEncoder(keras.Model):
    """The exact posterior given what is observed."""

    def call(self, x):
        observed = tf.cast(tf.math.is_finite(x), "float32")
        w = tf.constant(W, "float32")
        precision = tf.eye(2) + tf.einsum("bi,id,ie->bde", observed, w, w) / SIGMA**2
        error = tf.where(observed > 0, x - MU.astype("float32"), 0.0)
        mean = tf.linalg.solve(precision, tf.einsum("bi,id->bd", error, w)[..., None] / SIGMA**2)[..., 0]
        # Wider than the truth, so that the weights have something to do.
        scale = 1.3 * tf.linalg.cholesky(tf.linalg.inv(precision))
        return keras_vae.backend.tfd.MultivariateNormalTriL(mean + 0.1, scale)


def linear_vae():
    features = layers.Dense(5)
    decoder = keras.Sequential([features, Masked(IndependentNormal(5, scale=SIGMA, projection=False))])
    vae = keras_vae.VAE(TrueEncoder(), decoder, seed=0)
    vae.build((None, 5))
    features.set_weights([W.T.astype("float32"), MU.astype("float32")])
    return vae


def table(rows):
    z = RNG.normal(size=(rows, 2))
    x = (z @ W.T + MU + SIGMA * RNG.normal(size=(rows, 5))).astype("float32")
    missing = RNG.uniform(size=x.shape) < 0.4
    return x, np.where(missing, np.nan, x).astype("float32")


def exact(row):
    """Mean and covariance of what is missing of a row, given the rest."""
    covariance = W @ W.T + SIGMA**2 * np.eye(5)
    gap, seen = np.isnan(row), ~np.isnan(row)
    gain = covariance[np.ix_(gap, seen)] @ np.linalg.pinv(covariance[np.ix_(seen, seen)])
    return MU[gap] + gain @ (row[seen] - MU[seen]), covariance[np.ix_(gap, gap)] - gain @ covariance[np.ix_(seen, gap)]


@pytest.mark.filterwarnings("ignore:x has .* of which nothing was observed")
def test_the_expectation_is_the_exact_conditional_s():
    x, with_gaps = table(300)
    gaps = np.isnan(with_gaps)
    found = linear_vae().impute(with_gaps, num_samples=10_000, verbose=0, seed=0)
    np.testing.assert_array_equal(found[~gaps], x[~gaps])
    means = np.full_like(x, np.nan)
    for row, mean in zip(with_gaps, means, strict=True):
        mean[np.isnan(row)] = exact(row)[0]
    exact_error = np.sqrt(np.mean((means - x)[gaps] ** 2))
    assert np.sqrt(np.mean((found - x)[gaps] ** 2)) == pytest.approx(exact_error, rel=0.02)
    np.testing.assert_allclose(found[gaps], means[gaps], atol=0.15)


@pytest.mark.filterwarnings("ignore:x has .* of which nothing was observed")
def test_draws_have_the_exact_conditional_s_mean_and_variance():
    row = np.array([[0.3, np.nan, -0.5, np.nan, np.nan]], "float32")
    mean, covariance = exact(row[0])
    draws = linear_vae().impute(np.repeat(row, 40, 0), num_samples=500, num_imputations=50, verbose=0, seed=0)
    assert len(draws) == 50
    found = np.concatenate(draws)[:, np.isnan(row[0])]
    # 2,000 draws: means are off by a 45th of a standard deviation, variances by 3%; five of these.
    assert (np.abs(found.mean(0) - mean) < 5 * np.sqrt(np.diag(covariance) / 2000)).all()
    np.testing.assert_allclose(found.var(0), np.diag(covariance), rtol=5 * np.sqrt(2 / 2000))
    for column in range(3):
        law = stats.norm(mean[column], np.sqrt(covariance[column, column]))
        assert stats.kstest(found[:, column], law.cdf).pvalue > 1e-4


def test_imputations_repeat_with_their_seed_and_differ_from_each_other():
    _, with_gaps = table(20)
    with_gaps[:, 0] = 1.0
    vae = linear_vae()
    one, two = (vae.impute(with_gaps, 50, num_imputations=2, verbose=0, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert (one[0] != one[1]).any()


def test_a_frame_comes_back_as_a_frame():
    _, with_gaps = table(12)
    with_gaps[:, 0] = np.arange(12)
    frame = pd.DataFrame(with_gaps.astype("float64"), index=list("abcdefghijkl"), columns=["a", "b", "c", "d", "e"])
    frame["a"] = frame["a"].astype("int64")
    frame.loc["c", "b"] = 1 / 3  # no float32
    before = frame.copy()
    vae = linear_vae()
    filled = vae.impute(frame, num_samples=20, verbose=0, seed=0)
    pd.testing.assert_frame_equal(frame, before)
    assert list(filled.columns) == list(frame.columns) and list(filled.index) == list(frame.index)
    assert filled["a"].dtype == "int64" and filled.loc["c", "b"] == 1 / 3
    assert not filled.isna().any().any()
    several = vae.impute(frame, num_samples=20, num_imputations=3, verbose=0, seed=0)
    assert [type(each) for each in several] == [pd.DataFrame] * 3
    stream = tf.data.Dataset.from_tensor_slices(with_gaps).batch(5)
    assert vae.impute(stream, num_samples=20, verbose=0).shape == (12, 5)


def test_parts_of_a_dictionary_categories_by_the_likeliest():
    """A part that is not masked stays; of a category what is filled in is a level."""
    inputs = {"kind": keras.Input((2,), name="kind"), "size": keras.Input((3,), name="size")}
    features = layers.Concatenate()([Impute()(inputs["kind"]), inputs["size"]])
    parts = {"kind": Masked(IndependentCategorical(2, levels=4)), "size": IndependentNormal(3)}
    vae = keras_vae.VAE(keras.Model(inputs, IndependentNormal(2)(features)), keras.Sequential([Joint(parts)]), seed=0)
    kind = RNG.integers(0, 4, size=(9, 2)).astype("float32")
    kind[::2, 1] = np.nan
    x = {"kind": kind, "size": RNG.normal(size=(9, 3)).astype("float32")}
    vae.build({"kind": (None, 2), "size": (None, 3)})
    for filled in (vae.impute(x, 30, verbose=0), *vae.impute(x, 30, num_imputations=2, verbose=0)):
        assert set(np.unique(filled["kind"])) <= {0.0, 1.0, 2.0, 3.0}
        np.testing.assert_array_equal(filled["size"], x["size"])
        np.testing.assert_array_equal(filled["kind"][1::2], kind[1::2])
    scores = vae.log_prob_of_elements(x, num_samples=5, verbose=0)
    assert (scores["kind"][::2, 1] == 0.0).all() and (scores["kind"][1::2] < 0.0).all()


def test_what_cannot_be_imputed(vae):
    with pytest.raises(
        ValueError, match=r"impute: expected a decoder that scores data with missing entries, by .*Masked"
    ):
        vae.impute(X)
    with pytest.raises(ValueError, match="impute: expected a built model"):
        gaussian_vae().impute(X)
    with pytest.raises(ValueError, match="impute: expected `num_imputations` to be an integer >= 1; received: 0"):
        linear_vae().impute(table(3)[1], num_imputations=0)


# Threads.


def test_all_that_only_reads_may_be_asked_from_many_threads(vae):
    questions = [
        lambda: vae.log_likelihood(X, num_samples=1, verbose=0, seed=3),
        lambda: vae.log_likelihood(X[:20], num_samples=600, verbose=0, seed=3),
        lambda: vae.transform(X, verbose=0),
        lambda: vae.log_prob_of_elements(X, num_samples=7, verbose=0, seed=3),
        lambda: vae.predict(X, verbose=0)["nll"],
        lambda: vae.evaluate(X, verbose=0),
        lambda: vae.generate(5, seed=3),
        lambda: vae.encode(X).mean(),
        lambda: vae.reconstruct(X),
    ]
    expected = [np.asarray(ask()) for ask in questions]

    def ask(number):
        return all(np.array_equal(np.asarray(questions[number]()), expected[number]) for _ in range(3))

    numbers = [*range(len(questions))] * 2
    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as threads:
        assert list(threads.map(ask, numbers)) == [True] * len(numbers)


def test_imputations_from_many_threads():
    _, with_gaps = table(20)
    with_gaps[:, 0] = 1.0
    vae = linear_vae()
    sizes = [1, 40] * 4
    expected = {size: vae.impute(with_gaps, num_samples=size, verbose=0, seed=0) for size in set(sizes)}
    found = {}

    def ask(number):
        found[number] = vae.impute(with_gaps, num_samples=sizes[number], verbose=0, seed=0)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for number, size in enumerate(sizes):
        np.testing.assert_array_equal(found[number], expected[size])


def test_predict_is_whole_though_an_evaluation_ends_meanwhile(vae):
    """That one has more batches a call, and ends between two batches of this one."""
    begun, held = threading.Event(), threading.Event()

    class Held(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index == 1:
                begun.set()
                held.wait(20)
            return (X[:32],)

    evaluating = threading.Thread(target=lambda: vae.evaluate(Held(), verbose=0))
    evaluating.start()
    begun.wait(20)

    def release(batch, logs=None):
        held.set()
        evaluating.join()

    callback = keras.callbacks.LambdaCallback(on_predict_batch_end=release)
    found = vae.predict(X, batch_size=10, verbose=0, callbacks=[callback])
    assert len(found["nll"]) == 70


def test_who_trains_is_alone():
    vae = gaussian_vae()
    vae.compile("sgd", jit_compile=False)
    refused = []

    def meanwhile(epoch, logs=None):
        vae.evaluate(X[:8], verbose=0)  # by the same thread, as a callback does
        for ask in (vae.fit, vae.evaluate, vae.adapt):

            def attempt(ask=ask):
                with pytest.raises(RuntimeError, match=r"no other thread to change this model .* one that is at `fit`"):
                    ask(X)
                refused.append(ask)

            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()

    vae.fit(X, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=meanwhile)])
    assert len(refused) == 3
    vae.evaluate(X, verbose=0)


def test_transform_leaves_the_seeds_of_training_where_they_are(vae):
    before = np.asarray(vae.seed_generator.state)
    vae.transform(X, verbose=0)
    np.testing.assert_array_equal(vae.seed_generator.state, before)


def test_lists_and_parts_within_parts_come_back_whole():
    _, with_gaps = table(8)
    with_gaps[:, 0] = 1.0
    vae = linear_vae()
    found = vae.impute(with_gaps.tolist(), num_samples=5, verbose=0, seed=0)
    np.testing.assert_array_equal(found, vae.impute(with_gaps, num_samples=5, verbose=0, seed=0))
    inputs = {"row": {"a": keras.Input((2,)), "b": keras.Input((1,))}, "more": keras.Input((1,))}
    features = layers.Concatenate()([Impute()(inputs["row"]["a"]), inputs["row"]["b"], inputs["more"]])
    likelihood = Joint({"a": Masked(IndependentNormal(2)), "b": IndependentNormal(1)})
    nested = keras_vae.VAE(
        keras.Model(inputs, IndependentNormal(2)(features)), keras.Sequential([likelihood]), target="row"
    )
    x = {"row": {"a": with_gaps[:, 1:3], "b": with_gaps[:, :1]}, "more": with_gaps[:, :1]}
    nested(x)
    filled = nested.impute(x, num_samples=5, verbose=0)
    assert set(filled) == {"row", "more"} and set(filled["row"]) == {"a", "b"}
    assert np.isfinite(filled["row"]["a"]).all()


def test_in_float64_by_default():
    """`arange` is int64 there, and a number of samples int32."""
    keras.config.set_floatx("float64")
    try:
        _, with_gaps = table(6)
        with_gaps[:, 0] = 1.0
        encoder = keras.Sequential([Impute(), IndependentNormal(2)])
        vae = keras_vae.VAE(encoder, keras.Sequential([Masked(IndependentNormal(5))]), seed=0)
        vae(with_gaps.astype("float64"))
        for ask in (vae.log_likelihood, vae.log_prob_of_elements, vae.impute):
            assert np.isfinite(ask(with_gaps, num_samples=3, verbose=0)).all()
    finally:
        keras.config.set_floatx("float32")


def test_bernoulli_elements_against_scipy():
    vae = keras_vae.VAE(
        keras.Sequential([layers.Flatten(), IndependentNormal(2)]),
        keras.Sequential([layers.Dense(5, kernel_initializer="zeros"), IndependentBernoulli(5, projection=False)]),
    )
    x = (RNG.uniform(size=(6, 5)) > 0.5).astype("float32")
    vae.build((None, 5))
    bias = RNG.normal(size=5)
    vae.decoder.layers[0].bias.assign(bias)
    found = vae.log_prob_of_elements(x, num_samples=3, verbose=0)
    np.testing.assert_allclose(found, stats.bernoulli(1 / (1 + np.exp(-bias))).logpmf(x), rtol=1e-5)
