"""The importance-sampled log-likelihood, against closed forms, and its constant memory."""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from small import LinearGaussian, bernoulli_vae, digits, gaussian_vae

from keras_vae.evaluation import ImportanceSampler
from keras_vae.evaluation.over_data import reader_of


def test_one_sample_is_exact_at_the_true_posterior():
    """There every importance weight is p(x) itself."""
    model = LinearGaussian()
    x = model.sample(40)
    estimate = model.vae().log_likelihood(x, num_samples=1, verbose=0)
    np.testing.assert_allclose(estimate, model.log_prob(x), rtol=1e-10)


def test_agrees_with_the_exact_log_likelihood_away_from_the_true_posterior():
    """Within 4 standard errors, as measured from 16 repetitions; the false alarm rate is about 1e-3 an example.

    The posterior is stretched, so that the weights' variance is finite, and shifted.
    """
    model = LinearGaussian()
    vae = model.vae(posterior_shift=0.3, posterior_stretch=1.4)
    x = model.sample(10)
    estimates = np.array([vae.log_likelihood(x, num_samples=2000, seed=seed, verbose=0) for seed in range(16)])
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert np.all(error < 0.05)
    np.testing.assert_array_less(np.abs(estimates.mean(axis=0) - model.log_prob(x)), 4 * error + 1e-4)


@pytest.mark.parametrize("num_samples", [1, 2, 63, 64, 65, 1000])
def test_streams_the_plain_formula(num_samples):
    """Every sample counts once, also where they do not fill a block: all weights are the same function of z."""
    model = LinearGaussian()
    vae = model.vae(posterior_shift=0.3, posterior_stretch=1.4)
    x = model.sample(8)
    drawn = []
    decode = vae.decode
    vae.decode = lambda z, **kwargs: drawn.append(z) or decode(z, **kwargs)
    sampler = ImportanceSampler(vae, block=64)
    sampler.compile(run_eagerly=True)
    sampler.restart(num_samples, [5, 0])
    estimate = sampler.predict(x, batch_size=8, verbose=0)
    del vae.decode
    z = np.concatenate(drawn)[:num_samples]
    posterior = vae.encode(x)
    weights = vae.decode(z).log_prob(x) + vae.prior().log_prob(z) - posterior.log_prob(z)
    np.testing.assert_allclose(estimate, logsumexp(weights, axis=0) - np.log(num_samples), rtol=1e-12)


@pytest.mark.slow
def test_tightens_with_samples_from_the_bound_up():
    vae = gaussian_vae()
    vae.compile("sgd")
    x = digits()[:200]
    vae.fit(x, epochs=3, verbose=0)
    means = [vae.log_likelihood(x, num_samples=num, seed=0, verbose=0).mean() for num in (1, 10, 1000)]
    elbo = vae.evaluate(x, verbose=0, return_dict=True)["elbo"]
    assert elbo - 1.0 < means[0] < means[1] < means[2]


def test_threads_get_what_one_thread_gets():
    vae, x = LinearGaussian().vae(), LinearGaussian().sample(3)

    def estimate(seed):
        return vae.log_likelihood(x, num_samples=20 + seed, batch_size=3, seed=seed, verbose=0)

    expected = [estimate(seed) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for found, alone in zip(threads.map(estimate, range(8)), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_samplers_are_not_kept_without_end():
    vae = LinearGaussian().vae()
    for block in range(1, 30):
        latest = reader_of(vae, ImportanceSampler, block)
    assert 1 < len(vae.engine.readers) <= 8 and reader_of(vae, ImportanceSampler, 29) is latest
    vae.log_likelihood(LinearGaussian().sample(3), num_samples=5, verbose=0)
    assert latest in vae.engine.readers.values() and len(vae.engine.readers) <= 8


def test_seeds():
    vae = bernoulli_vae()
    x = digits()[:9]
    one, again, other = (vae.log_likelihood(x, num_samples=20, seed=seed, verbose=0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(*(vae.log_likelihood(x, num_samples=20, verbose=0) for _ in range(2)))


@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
def test_kinds_of_data_and_batch_sizes(jit_compile):
    """Each example gets its own log-likelihood, whatever hands it over.

    The weights' coefficient of variation is about 0.4 here, so 0.1 is 15 standard errors of 4,000 samples.
    """
    model = LinearGaussian()
    vae = model.vae(posterior_stretch=1.2)
    vae.compile("sgd", jit_compile=jit_compile)
    x = model.sample(23)
    expected = model.log_prob(x)
    for data, batch_size in [
        (x, 5),
        (x, 1),
        (tf.data.Dataset.from_tensor_slices((x, np.arange(23))).batch(10), None),
        (tf.data.Dataset.from_tensor_slices(x).batch(10), None),
    ]:
        estimate = vae.log_likelihood(data, num_samples=4000, batch_size=batch_size, verbose=0)
        np.testing.assert_allclose(estimate, expected, atol=0.1)


def test_another_number_of_samples_or_seed_needs_no_new_program():
    vae = gaussian_vae()
    x = digits()[:8]
    vae.build(x.shape)
    traces = []
    encode = vae.encode
    vae.encode = lambda *args, **kwargs: traces.append(1) or encode(*args, **kwargs)
    for num_samples, seed in [(10, 0), (20, 1), (5000, 2), (10, 3)]:
        vae.log_likelihood(x, num_samples=num_samples, batch_size=8, seed=seed, verbose=0)
    assert len(traces) <= 2  # once to build the sampler, once to compile it


def test_calls_without_a_seed_are_independent():
    """No draw of one call is a draw of another: one example, four times, one by one."""
    vae = gaussian_vae()
    x = np.repeat(digits()[:1], 4, axis=0)
    calls = [vae.log_likelihood(x, num_samples=3, batch_size=1, verbose=0) for _ in range(3)]
    assert len(np.unique(np.concatenate(calls))) == 12


def test_a_seed_means_one_number_before_and_after_compiling():
    vae = gaussian_vae()
    x = digits()[:3]
    before = vae.log_likelihood(x, num_samples=20, seed=1, verbose=0)
    vae.compile("sgd")
    np.testing.assert_array_equal(vae.log_likelihood(x, num_samples=20, seed=1, verbose=0), before)


def test_batch_sizes_that_are_no_positive_integers():
    with pytest.raises(ValueError, match="log_likelihood: expected `batch_size` to be an integer >= 1; received: 0"):
        gaussian_vae().log_likelihood(digits()[:3], batch_size=0)


def test_progress_is_shown(capfd):
    gaussian_vae().log_likelihood(digits()[:20], num_samples=2**14, batch_size=1, verbose=1)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capfd.readouterr().out)
    steps = set(map(int, re.findall(r"(\d+)/20", shown)))
    assert {1, 20} < steps


MEMORY = """
    import resource, sys
    import numpy as np
    import tensorflow as tf
    from small import digits, gaussian_vae
    vae = gaussian_vae()
    x = digits()[:3]
    vae.log_likelihood(x, num_samples=50, batch_size=3, verbose=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for num_samples in (5_000, 200_000):
        assert np.isfinite(vae.log_likelihood(x, num_samples=num_samples, batch_size=3, verbose=0)).all()
        dataset = tf.data.Dataset.from_tensor_slices(np.repeat(x, 100, axis=0)).batch(300)
        if num_samples == 5_000:
            assert np.isfinite(vae.log_likelihood(dataset, num_samples=num_samples, verbose=0)).all()
        print(num_samples, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_samples():
    """Peak memory after 50 samples, 5,000 and 200,000; the last would take 147 MiB of pixels alone if held at once."""
    here = str(pathlib.Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {here!r})\n" + textwrap.dedent(MEMORY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert max(grown) < 30, f"peak memory grew by {grown} MiB"


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        estimate = gaussian_vae(scale=0.5).log_likelihood(digits()[:4], num_samples=100, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert estimate.dtype == np.float32 and np.isfinite(estimate).all()
