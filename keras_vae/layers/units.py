"""Each latent on its own, a unit: its density, also among correlated Gaussians, its KL, and how units vary together."""

from keras import ops

from keras_vae.backend import tfd
from keras_vae.layers.elements import DependentElements, log_prob_of_elements
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.layers.families.multivariate_normal_low_rank import MultivariateNormalLowRankDistribution
from keras_vae.layers.families.multivariate_normal_tril import MultivariateNormalTriLDistribution
from keras_vae.ops import gaussian_kl
from keras_vae.ops.fused import as_tensor, compute_dtype

# Gaussians, whose every unit is one, correlated with others or not.
GAUSSIANS = (
    IndependentNormalDistribution,
    MultivariateNormalLowRankDistribution,
    MultivariateNormalTriLDistribution,
    tfd.MultivariateNormalLinearOperator,
    tfd.Normal,
)


def unit_kl(posterior_mean, posterior_stddev, prior_mean, prior_stddev):
    """The KL(q(u|x) || p(u)) of each latent u on its own, in nats, `[N, *latent]`, for Gaussians with these moments.

        KL = log(s_p / s_q) + (s_q^2 + (m_q - m_p)^2) / (2 s_p^2) - 1/2

    It is exact for Gaussians, and another number for all else: it knows of no more than these moments. For independent
    ones the sum over the latents is the KL of all.

        posterior = vae.encode(x)
        keras_vae.evaluation.unit_kl(posterior.mean(), posterior.stddev(), 0.0, 1.0)  # [64, 4]

    Args:
        posterior_mean, posterior_stddev: of q(u|x), `[N, *latent]`.
        prior_mean, prior_stddev: of p(u), `[*latent]`.
    """
    dtype = compute_dtype(posterior_mean, posterior_stddev, prior_mean, prior_stddev)
    log_variance, prior_log_variance = (
        2.0 * ops.log(as_tensor(stddev, dtype)) for stddev in (posterior_stddev, prior_stddev)
    )  # a variance, or a ratio of two, would overflow where the KL does not
    return gaussian_kl(posterior_mean, log_variance, prior_mean, prior_log_variance, event_ndims=0)


def closed_kl_of_units(posterior, prior):
    """KL(q(u|x) || p(u)) of each latent u on its own, `[N, *latent]`, nats; None unless both are Gaussian."""
    if not (is_gaussian(posterior) and is_gaussian(prior)):
        return None
    if all(isinstance(each, IndependentNormalDistribution) for each in (posterior, prior)):
        return gaussian_kl(posterior.loc, posterior.log_variance, prior.loc, prior.log_variance, event_ndims=0)
    return unit_kl(posterior.mean(), posterior.stddev(), prior.mean(), prior.stddev())


def kl_of_units_by_draws(posterior, prior, z):
    """The mean over draws z of log q(u|x) - log p(u), of each latent u on its own, `[N, *latent]`, nats.

    Args:
        z: draws from the posterior, `[S, N, *latent]`.

    Raises:
        DependentElements: a ValueError, where units have no density that is known of each on its own.
    """
    return ops.mean(log_prob_of_units(posterior, z) - log_prob_of_units(prior, z), axis=0)


def log_prob_of_units(distribution, z):
    """log of the density of each latent on its own, `[..., *latent]`, in nats.

    Raises:
        DependentElements: a ValueError, where that is not known.
    """
    try:
        return log_prob_of_elements(distribution, z)
    except DependentElements:
        if not is_gaussian(distribution):
            raise
        return tfd.Normal(distribution.mean(), distribution.stddev()).log_prob(z)


def is_gaussian(distribution):
    """Whether a distribution is known to be a Gaussian: one of TFP's, or of this library's."""
    if hasattr(distribution, "reinterpreted_batch_ndims") and not isinstance(distribution, GAUSSIANS):
        distribution = distribution.distribution  # TFP's `Independent`
    return isinstance(distribution, GAUSSIANS)


def has_independent_units(distribution, z):
    """Whether the density is known to be the product of those of the units.

    Args:
        z: any point that it scores, at which it is asked.
    """
    if isinstance(distribution, tfd.MultivariateNormalDiag):
        return True
    try:
        log_prob_of_elements(distribution, z)
    except DependentElements:
        return False
    return True


def log_prob_with_units(distribution, z):
    """The log density of z, `[..., *batch]`, and that of each unit of it, `[..., *batch, *latent]`, nats.

    Raises:
        DependentElements: as `log_prob_of_units`.
    """
    of_units = log_prob_of_units(distribution, z)
    if has_independent_units(distribution, z):
        return ops.sum(of_units, axis=tuple(range(-len(distribution.event_shape), 0))), of_units
    return distribution.log_prob(z), of_units


def covariance_of_units(distribution):
    """The covariance of the units of a latent, `[*batch, D, D]`, whose D units are in one row.

    Raises:
        NotImplementedError: the distribution's is not known.
    """
    size = distribution.event_shape.num_elements()
    if not has_independent_units(distribution, distribution.mean()):
        return distribution.covariance()
    variance = distribution.variance()
    batch = ops.shape(variance)[: len(variance.shape) - len(distribution.event_shape)]
    return ops.eye(size, dtype=variance.dtype) * ops.reshape(variance, (*batch, 1, size))
