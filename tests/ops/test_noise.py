"""The noise: Threefry's published vectors, normality, and that a row's noise is its own."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import stats

from keras_vae import backend
from keras_vae.ops.noise import standard_normal, threefry

SEED = np.array([20, -7], "int32")


@pytest.mark.parametrize(
    "key, counter, expected",
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers(key, counter, expected):
    """Of Random123's file of known answers, threefry2x32 with 20 rounds."""

    @tf.function(jit_compile=True)
    def words(*numbers):
        return threefry(numbers[:2], numbers[2:])

    received = words(*(tf.constant(number, tf.uint32) for number in (*key, *counter)))
    assert tuple(int(word) for word in received) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_standard_normal(dtype):
    """Kolmogorov-Smirnov, the fourth moment and correlations of neighbours, at a false-alarm rate of 1e-4 each."""
    draws = standard_normal((1000, 500), SEED, dtype=dtype).numpy()
    assert draws.dtype == dtype
    assert stats.kstest(draws.ravel().astype("float64"), "norm").pvalue > 1e-4
    fourth = np.mean(draws.astype("float64") ** 4)
    assert abs(fourth - 3.0) < 3.9 * np.sqrt(96.0 / draws.size)  # Var z^4 = 105 - 9
    for one, other in ((draws[1:], draws[:-1]), (draws[:, 1:], draws[:, :-1])):
        assert abs(np.mean(one * other)) < 3.9 / np.sqrt(one.size)


def test_seeds_give_other_draws():
    first = standard_normal((50, 40), SEED).numpy()
    for seed in ([21, -7], [20, -6], [-7, 20]):
        other = standard_normal((50, 40), np.array(seed, "int32")).numpy()
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 3.9 / np.sqrt(first.size)


def test_a_row_s_noise_is_its_own():
    """It depends neither on how many rows there are nor on where the batch begins."""
    whole = standard_normal((3, 10, 4), SEED, row_axis=1).numpy()
    np.testing.assert_array_equal(standard_normal((3, 6, 4), SEED, row_axis=1).numpy(), whole[:, :6])
    np.testing.assert_array_equal(standard_normal((3, 6, 4), SEED, row_axis=1, first_row=4).numpy(), whole[:, 4:])
    assert len(np.unique(whole)) == whole.size


def test_it_is_the_same_in_every_way_to_run_it():
    """To rounding, as compilers contract arithmetic differently: within a few units in the last place."""
    eager = standard_normal((7, 5), SEED).numpy()

    def draw(like):
        return standard_normal(tuple(ops.shape(like)), SEED)

    like = tf.zeros((7, 5))
    unknown = [tf.TensorSpec((None, 5))]
    for program in (
        tf.function(draw),
        tf.function(draw, jit_compile=True),
        tf.function(draw, input_signature=unknown),
        tf.function(draw, input_signature=unknown, jit_compile=True),
    ):
        np.testing.assert_allclose(program(like).numpy(), eager, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(not backend.ON_CPU, reason="a branch would make a GPU's host wait")
def test_a_program_hashes_once_however_many_loops_read_the_noise():
    """Threefry-2x32-20 turns a word 20 times, one of which XLA may leave out, as the second word is not used."""

    @tf.function(jit_compile=True, autograph=False)
    def many(seed, scale):
        noise = standard_normal((64, 200), seed)
        return [ops.sum(each, axis=-1) for each in (noise, noise**2, ops.exp(noise), noise * scale)]

    text = many.experimental_get_compiler_ir(tf.constant(SEED), tf.ones((64, 200)))("optimized_hlo")
    assert 0 < text.count(" shift-left(") <= 20


def test_an_empty_shape_gives_nothing():
    assert standard_normal((0, 3), SEED).shape == (0, 3)


def test_draws_of_an_unknown_size_have_a_known_rank_whatever_was_drawn_before():
    for rank in (1, 2, 3, 4):
        standard_normal((2,) * rank, SEED)
    ranks = []

    @tf.function
    def draw(size):
        ranks.append(standard_normal((size, 3, 4), SEED).shape.rank)

    draw(tf.constant(5))
    assert ranks == [3]
