"""The normal draws of a Gaussian layer: Threefry's known answers, and the distribution."""

import numpy as np
import scipy.stats
import tensorflow as tf

from keras_vae import backend


def test_threefrys_known_answer():
    """Threefry-2x32 with 20 rounds of key 0 and counter 0, from the Random123 distribution's kat_vectors."""
    words = backend.threefry(tf.zeros(2, tf.uint32), tf.zeros(1, tf.uint32))
    assert [int(word[0]) for word in words] == [0x6B200159, 0x99BA4EFE]


def test_draws_are_standard_normal():
    """Seeded, so that it passes or fails for good: Kolmogorov-Smirnov at 1e-3, moments and neighbours at 4 sigma."""
    draws = backend.standard_normal_like(tf.zeros((1000, 400)), tf.constant([1, 2])).numpy().ravel()
    assert scipy.stats.kstest(draws, "norm").pvalue > 1e-3
    error = len(draws) ** -0.5
    assert abs(draws.mean()) < 4 * error and abs(draws.var() - 1) < 4 * 2**0.5 * error
    assert abs(scipy.stats.kurtosis(draws)) < 4 * 24**0.5 * error
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 4 * error


def test_a_seed_is_one_set_of_draws_and_no_other():
    one, again, other = (backend.standard_normal_like(tf.zeros(100), tf.constant([3, k])) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not set(one.numpy()) & set(other.numpy())
