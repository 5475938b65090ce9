"""What an estimator asks of a fitted VAE: rows in, rows out, in batches of one size.

A program for batches of one size is made once, whatever the number of rows. A row's answer does not depend on where it
stands, nor on what stands beside it.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_vae.evaluation.log_likelihood import ImportanceSampler, importance_sampled
from keras_vae.evaluation.over_data import read
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution

ROWS = 256  # a batch


def padded(x):
    """x `[N, ...]` with its last row repeated, up to whole batches."""
    return np.concatenate([x, np.repeat(x[-1:], -len(x) % ROWS, axis=0)])


def posterior_means(vae, x):
    """The means of q(z|x), `[N, *latent]`."""
    return vae.transform(padded(x), batch_size=ROWS, verbose=0, check_data=False)[: len(x)]


def likelihood_means(vae, z):
    """The means of p(x|z), `[N, *event]`."""
    filled = padded(z)
    batches = (filled[start : start + ROWS] for start in range(0, len(filled), ROWS))
    return np.concatenate([vae.point_estimate(vae.decode(batch)) for batch in batches])[: len(z)]


def log_likelihood(vae, x, num_samples, seed):
    """log p(x) by importance sampling, `[N]`, nats, as a function of x alone: see `PointwiseSampler`."""
    options = {"num_samples": num_samples, "seed": seed, "batch_size": ROWS, "verbose": 0, "check_data": False}
    return read(vae, PointwiseSampler, padded(x), name="score_samples", **options)[: len(x)]


class PointwiseSampler(ImportanceSampler):
    """Estimates log p(x) with the same noise for every row, so that equal rows have equal estimates.

    Posteriors of other families than `IndependentNormal` draw as ever, by a row's place in its batch.
    """

    def batch_seed(self):
        return ops.cast(ops.convert_to_tensor(self.seed_generator.state), "int32")  # each batch's: none is used up

    def answer(self, x, num_samples, seed):
        posterior = self.vae.encode(x)
        if isinstance(posterior, IndependentNormalDistribution):
            posterior = SharedNoise(posterior)
        return importance_sampled(self.vae, self.vae.target_of(x), posterior, num_samples, seed, self.block)


class SharedNoise(NamedTuple):
    """A Gaussian posterior whose draws are those of one row's noise, moved to each row's mean and deviation."""

    posterior: Any

    def sample(self, num, seed):
        zeros = ops.zeros((1, *self.posterior.event_shape), self.posterior.dtype.name)
        noise = IndependentNormalDistribution(zeros, zeros, len(self.posterior.event_shape)).sample(num, seed)
        return self.posterior.mean() + self.posterior.stddev() * noise  # [S, B, *latent]

    def log_prob(self, z):
        return self.posterior.log_prob(z)
