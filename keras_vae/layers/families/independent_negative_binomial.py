"""The negative binomial distribution with independent elements, for counts that scatter more than a Poisson's."""

import keras
import numpy as np
from keras import ops

from keras_vae.backend import tfd, tfp
from keras_vae.data.support import Support
from keras_vae.layers.families.independent_poisson import COUNTS, LARGEST_LOG_RATE
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.links import rate
from keras_vae.layers.location_scale import LocationScaleLayer
from keras_vae.ops import negative_binomial_nll

SMALLEST = 1e-12  # mean of counts by which to divide

# The least that data make sigma start at: there a count of 1,000 has twice a Poisson's variance, nearly.
LEAST_DISPERSION = 0.03


class IndependentNegativeBinomialDistribution(IndependentDistribution):
    """Independent negative binomial variables: Poisson counts whose rate is itself Gamma distributed.

    `log_prob` is the fused op.

    Args:
        log_mean: log mu, `[..., *event]`.
        log_scale: log sigma, the log of the rate's standard deviation over its mean; broadcastable with `log_mean`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("log_mean", "log_scale")
    support = Support("IndependentNegativeBinomial", COUNTS, low=0.0, is_integer=True)

    def __init__(self, log_mean, log_scale, event_ndims, name="IndependentNegativeBinomialDistribution"):
        self.total_count = ops.exp(-2.0 * log_scale)  # n, the shape of the rate's Gamma distribution
        elements = tfd.NegativeBinomial(self.total_count, logits=log_mean + 2.0 * log_scale)
        super().__init__(elements, event_ndims, name, log_mean=log_mean, log_scale=log_scale)

    def log_prob_of_elements(self, x, event_ndims=0):
        return -negative_binomial_nll(x, self.log_mean, self.log_scale, event_ndims=event_ndims)

    def _sample_n(self, n, seed=None):
        # TFP's own way, by a Gamma sampler that XLA has; of mean 1, so that it holds for the largest mu.
        rate_seed, count_seed = tfp.random.split_seed(seed, n=2)
        shape = self.total_count + ops.zeros_like(self.log_mean)
        rate = tfd.Gamma(shape, shape).sample(n, seed=rate_seed)
        return tfd.Poisson(rate * ops.exp(self.log_mean)).sample(seed=count_seed)

    # TFP's are by way of n exp(logits), which overflows.

    def _mean(self):
        return ops.exp(self.log_mean) + 0.0 * self.log_scale

    def _variance(self):
        return ops.exp(self.log_mean) + ops.exp(2.0 * (self.log_mean + self.log_scale))

    def _stddev(self):
        return ops.sqrt(self._variance())


def dispersion(mean, variance):
    """The sigma of counts of this mean and variance, (v - m) / m^2 = sigma^2; small where they scatter too little."""
    square = (variance - mean) / np.square(np.maximum(mean, SMALLEST))
    return np.where(mean > SMALLEST, np.sqrt(np.maximum(square, LEAST_DISPERSION**2)), 0.0)


@keras.saving.register_keras_serializable("keras_vae")
class IndependentNegativeBinomial(LocationScaleLayer):
    """A negative binomial distribution for each element: counts that scatter more than a Poisson's, as of genes.

        log p(x) = sum_i [ log G(x_i + n_i) - log G(n_i) - log x_i! + n_i log(n_i / (n_i + mu_i))
                           + x_i log(mu_i / (n_i + mu_i)) ],    n = 1 / sigma^2, G the gamma function

    It is a Poisson count whose rate is Gamma distributed, with mean mu and standard deviation sigma mu. So its variance
    is mu + sigma^2 mu^2, and at sigma -> 0 it is the Poisson distribution. The network gives log mu, linear in the
    features, up to 30.

    The `scale` says where sigma comes from. `PerDimension()` is one for each gene, `Shared()` one for all, and
    `PerElement()` the network's. One for each gene is usual in single-cell work. (Lopez et al., "Deep generative
    modeling for single-cell transcriptomics", 2018, whose inverse dispersion theta is n.) See `LocationScaleLayer` for
    the arguments. The `activation` is that of log mu.

        scale = keras_vae.scales.PerDimension()  # a dispersion for each gene
        likelihood = keras_vae.layers.IndependentNegativeBinomial(13, scale=scale)
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: as `LocationScaleLayer`; `scale` is `Optimal()`, since the best sigma has no closed form here.
    """

    family = IndependentNegativeBinomialDistribution

    def sigma_of(self, moments):
        # By moments, of the variance m + sigma^2 m^2; larger counts tell more of it.
        return dispersion(moments.mean, moments.variance), moments.count * np.square(moments.mean)

    def location_of(self, moments, sigma):
        return [np.log(rate(moments))]

    def with_scale(self, log_mean, *others):
        return super().with_scale(ops.minimum(log_mean, LARGEST_LOG_RATE), *others)
