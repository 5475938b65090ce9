"""The density of each unit of a latent on its own, also where the units of a Gaussian are correlated."""

from keras import ops

from keras_vae.backend import tfd
from keras_vae.layers.elements import DependentElements, log_prob_of_elements
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.layers.families.multivariate_normal_low_rank import MultivariateNormalLowRankDistribution
from keras_vae.layers.families.multivariate_normal_tril import MultivariateNormalTriLDistribution

# Gaussians, whose every unit is one, correlated with others or not.
GAUSSIANS = (
    IndependentNormalDistribution,
    MultivariateNormalLowRankDistribution,
    MultivariateNormalTriLDistribution,
    tfd.MultivariateNormalLinearOperator,
    tfd.Normal,
)


def is_gaussian(distribution):
    """Whether a distribution is known to be a Gaussian: one of TFP's, or of this library's."""
    if hasattr(distribution, "reinterpreted_batch_ndims") and not isinstance(distribution, GAUSSIANS):
        distribution = distribution.distribution  # TFP's `Independent`
    return isinstance(distribution, GAUSSIANS)


def log_prob_of_units(distribution, z):
    """The log density of each unit of z on its own, `[..., *batch, *latent]`, nats: of the marginal distributions.

    Raises:
        DependentElements: a ValueError, where units are dependent and are no Gaussians, whose marginals are known.
    """
    if is_gaussian(distribution):
        return tfd.Normal(distribution.mean(), distribution.stddev()).log_prob(z)
    return log_prob_of_elements(distribution, z)


def log_prob_with_units(distribution, z):
    """The log density of z, `[..., *batch]`, and that of each unit of it, `[..., *batch, *latent]`, nats.

    Of independent units the one is the sum of the others.

    Raises:
        DependentElements: as `log_prob_of_units`.
    """
    try:
        of_units = log_prob_of_elements(distribution, z)
    except DependentElements:
        return distribution.log_prob(z), log_prob_of_units(distribution, z)
    return ops.sum(of_units, axis=tuple(range(-len(distribution.event_shape), 0))), of_units


def covariance_of_units(distribution):
    """The covariance of the units of a latent, `[*batch, D, D]`, whose D units are in one row.

    Raises:
        NotImplementedError: the distribution's is not known.
    """
    size = distribution.event_shape.num_elements()
    try:
        log_prob_of_elements(distribution, distribution.mean())
    except DependentElements:
        return distribution.covariance()
    variance = distribution.variance()
    batch = ops.shape(variance)[: len(variance.shape) - len(distribution.event_shape)]
    return ops.eye(size, dtype=variance.dtype) * ops.reshape(variance, (*batch, 1, size))
