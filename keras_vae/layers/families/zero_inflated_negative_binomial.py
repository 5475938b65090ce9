"""The negative binomial distribution with extra zeros, for counts of which some were missed."""

from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_vae import compat
from keras_vae.backend import tfd, tfp
from keras_vae.layers.families.independent_negative_binomial import (
    LEAST_DISPERSION,
    IndependentNegativeBinomial,
    IndependentNegativeBinomialDistribution,
    dispersion,
)
from keras_vae.layers.links import logit, rate


class ZeroInflatedNegativeBinomialDistribution(IndependentNegativeBinomialDistribution):
    """Independent negative binomial variables, each of which is 0 instead with a probability of its own.

    (`tfd.Inflated` of TFP 0.25 takes its logits twice.)

    Args:
        log_mean: log mu of the count, `[..., *event]`.
        zero_logits: log(p / (1 - p)) of the probability to be 0 instead, `[..., *event]`.
        log_scale: log sigma of the count, broadcastable with `log_mean`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("log_mean", "zero_logits", "log_scale")
    support = replace(IndependentNegativeBinomialDistribution.support, family="ZeroInflatedNegativeBinomial")

    def __init__(self, log_mean, zero_logits, log_scale, event_ndims, name="ZeroInflatedNegativeBinomial"):
        super().__init__(log_mean, log_scale, event_ndims, name)
        self.zero_logits = zero_logits
        compat.set_parameters(self, {**self.parameters, "zero_logits": zero_logits})

    def log_prob_of_elements(self, x, event_ndims=0):
        counted = ops.log_sigmoid(-self.zero_logits) + super().log_prob_of_elements(x)
        either = ops.logaddexp(ops.log_sigmoid(self.zero_logits), counted)
        return ops.sum(ops.where(x == 0, either, counted), axis=tuple(range(-event_ndims, 0)))

    def _sample_n(self, n, seed=None):
        count_seed, zero_seed = tfp.random.split_seed(seed, n=2)
        is_zero = tfd.Bernoulli(logits=self.zero_logits, dtype=self.dtype).sample(n, seed=zero_seed)
        return (1.0 - is_zero) * super()._sample_n(n, seed=count_seed)

    def _log_cdf(self, x):
        cdf = ops.sigmoid(self.zero_logits) + ops.sigmoid(-self.zero_logits) * self.distribution.cdf(x)
        return ops.sum(ops.log(ops.where(x < 0, 0.0, cdf)), axis=tuple(range(-self.event_ndims, 0)))

    def _mode(self):
        of_counts = super()._mode()
        is_likelier = self.log_prob_of_elements(of_counts) > self.log_prob_of_elements(ops.zeros_like(of_counts))
        return ops.where(is_likelier, of_counts, 0.0)

    def _mean(self):
        return ops.sigmoid(-self.zero_logits) * super()._mean()

    def _variance(self):
        # By the law of total variance.
        counted = ops.sigmoid(-self.zero_logits)
        return counted * (super()._variance() + (1.0 - counted) * ops.square(super()._mean()))

    def _stddev(self):
        return ops.sqrt(self._variance())


# How small, and how large, a share of missed counts data make the layer start at.
LEAST_MISSED, MOST_MISSED = 0.01, 0.99


def missed_share(moments, sigma_of):
    """The pi at which zeros are as frequent as in data: pi + (1 - pi) NB(0; m / (1 - pi), sigma), by bisection.

    Args:
        moments: of the data; m is their mean.
        sigma_of: a function of pi to sigma.
    """
    zeros = moments.zeros / np.maximum(moments.count, 1.0)
    low, high = np.full_like(zeros, LEAST_MISSED), np.clip(zeros, LEAST_MISSED, MOST_MISSED)
    for _ in range(60):
        missed = 0.5 * (low + high)
        square = np.square(np.maximum(sigma_of(missed), LEAST_DISPERSION))
        counted_zero = np.exp(-np.log1p(square * moments.mean / (1.0 - missed)) / square)
        is_below = missed + (1.0 - missed) * counted_zero < zeros
        low, high = np.where(is_below, missed, low), np.where(is_below, high, missed)
    return 0.5 * (low + high)


@keras.saving.register_keras_serializable("keras_vae")
class ZeroInflatedNegativeBinomial(IndependentNegativeBinomial):
    """A negative binomial distribution with extra zeros: counts of which some were missed, as by a sequencer.

        p(x_i) = pi_i [x_i = 0] + (1 - pi_i) NB(x_i; mu_i, sigma_i)

    The logits log(pi / (1 - pi)) are linear in the features, as log mu is. (The likelihood of scVI: Lopez et al., "Deep
    generative modeling for single-cell transcriptomics", 2018.) See `IndependentNegativeBinomial`, also for the
    arguments. With `projection=False` the features are all log mu, then all log(pi / (1 - pi)), then (with
    `PerElement`) log sigma^2.

        scale = keras_vae.scales.PerDimension()
        likelihood = keras_vae.layers.ZeroInflatedNegativeBinomial(13, scale=scale)
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: as `IndependentNegativeBinomial`.
    """

    family = ZeroInflatedNegativeBinomialDistribution
    extra_parameters_per_element = 1

    def sigma_of(self, moments):
        # Mean, variance and share of zeros of the whole give pi, and with it mean and variance of what was counted.
        def of_counts(missed):
            mean = moments.mean / (1.0 - missed)
            return dispersion(mean, moments.variance / (1.0 - missed) - missed * np.square(mean))

        return of_counts(missed_share(moments, of_counts)), moments.count * np.square(moments.mean)

    def location_of(self, moments, sigma):
        missed = missed_share(moments, lambda missed: sigma)
        return [np.log(rate(moments) / (1.0 - missed)), logit(missed)]
