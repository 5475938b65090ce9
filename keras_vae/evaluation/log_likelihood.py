"""The importance-sampled log-likelihood, in memory that does not grow with the number of samples."""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_vae import backend
from keras_vae.evaluation.over_data import BLOCK_ROWS, Reader


class ImportanceSampler(Reader):
    """Estimates log p(x) under a VAE through `predict`, for whatever data `predict` takes.

        log p(x) ~= log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

    In expectation the estimate is a lower bound, which tightens as S grows (Burda, Grosse & Salakhutdinov, arXiv
    1509.00519, equation 8 and theorem 1). The encoder runs once an example. The draws go through the decoder in blocks,
    and only a running maximum and sum of the weights is kept.

        sampler = keras_vae.evaluation.ImportanceSampler(vae, block=100)
        sampler.restart(1000, seed=[0, 1])
        sampler.predict(x)  # [64], nats; VAE.log_likelihood does all of it

    Args:
        vae: the `VAE`.
        block: draws an example that go through the decoder at once.
    """

    def answer(self, x, num_samples, seed):
        posterior = self.vae.encode(x)
        seed = backend.seed_for_rows(seed, posterior)
        return importance_sampled(self.vae, self.vae.target_of(x), posterior, num_samples, seed, self.block)


def weighted_draws(vae, x, posterior, start, num_samples, seed, block):
    """A block of draws of z, and how much each counts.

    Args:
        vae, x, posterior, num_samples, seed, block: as of `importance_sampled`.
        start: the number of the block's first draw, an int32 tensor.

    Returns:
        z `[block, B, *latent]`; p(x|z), batch `[block, B]`; log p(x|z) + log p(z) - log q(z|x), `[block, B]`, which is
        -inf past the last sample.
    """
    first_part, prior = keras.tree.flatten(x)[0], vae.prior()
    z = posterior.sample(block, seed=backend.fold_in(seed, start))
    likelihood = vae.decode(z)
    log_probs = likelihood.log_prob(x), prior.log_prob(z), posterior.log_prob(z)
    log_likelihood, prior_density, posterior_density = (ops.cast(each, first_part.dtype) for each in log_probs)
    weights = log_likelihood + prior_density - posterior_density
    beyond = start + ops.arange(block, dtype="int32") >= num_samples
    return z, likelihood, ops.where(beyond[:, None], -float("inf"), weights)


class RunningMaximum(NamedTuple):
    """Sums of exp(w) over weights in log that come block by block: each is held relative to the largest so far.

    Attributes:
        peak: the largest w, `[B]`; -inf before any.
        total: the sum of exp(w - peak), `[B]`.
    """

    peak: Any
    total: Any

    @classmethod
    def of_none(cls, like):
        """Before any block, for as many examples as there are numbers in `like`, `[B]`."""
        return cls(ops.zeros_like(like) - float("inf"), ops.zeros_like(like))

    def after(self, weights):
        """With a block of weights `[block, B]`; the factor of earlier sums, `[B]`; and exp(w - peak), `[block, B]`."""
        peak = ops.maximum(self.peak, ops.max(weights, axis=0))
        # While every weight so far is -inf there is nothing to scale by.
        base = ops.where(ops.equal(peak, -float("inf")), 0.0, peak)
        factor, shares = ops.exp(self.peak - base), ops.exp(weights - base)
        return RunningMaximum(peak, self.total * factor + ops.sum(shares, axis=0)), factor, shares


def importance_sampled(vae, x, posterior, num_samples, seed, block):
    """The estimate of log p(x), `[B]`, nats: see `ImportanceSampler`.

    Args:
        vae: the `VAE`.
        x: what the likelihood scores, `[B, *event]`.
        posterior: q(z|x), batch `[B]`.
        num_samples: S, an int32 tensor.
        seed: int32 `[2]`.
        block: draws an example that go through the decoder at once, an integer or an int32 tensor.
    """
    first_part = keras.tree.flatten(x)[0]

    def add_block(start, peak, total):
        _, _, weights = weighted_draws(vae, x, posterior, start, num_samples, seed, block)
        return start + block, *RunningMaximum(peak, total).after(weights)[0]

    nothing = ops.zeros(ops.shape(first_part)[:1], dtype=first_part.dtype)
    _, peak, total = ops.while_loop(
        lambda start, peak, total: start < num_samples,
        add_block,
        (ops.zeros((), "int32"), *RunningMaximum.of_none(nothing)),
    )
    estimate = peak + ops.log(total) - ops.log(ops.cast(num_samples, peak.dtype))
    return ops.where(says_nothing(vae, x), 0.0, estimate)


def says_nothing(vae, x):
    """For each example, `[B]`, whether nothing of it was observed, so that log p is 0 exactly: booleans."""
    found = ops.ones(ops.shape(keras.tree.flatten(x)[0])[:1], "bool")
    for name, part in x.items() if isinstance(x, dict) else [(None, x)]:
        support = vae.support.get(name) if isinstance(vae.support, dict) else vae.support
        if not getattr(support, "may_be_missing", False):
            return ops.zeros_like(found)
        found = ops.logical_and(found, ops.all(ops.isnan(part), axis=tuple(range(1, len(part.shape)))))
    return found


def draws_for(x, num_samples):
    """How many draws make one block if the batch size is known only when run: int32, at most `num_samples`."""
    batch_size = ops.shape(keras.tree.flatten(x)[0])[0]
    return ops.minimum(ops.maximum(BLOCK_ROWS // ops.maximum(batch_size, 1), 1), num_samples)
