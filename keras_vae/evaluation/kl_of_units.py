"""The KL of each latent on its own, where it is known: in closed form, or by draws."""

from keras import ops

from keras_vae.backend import tfd
from keras_vae.evaluation.latents import unit_kl
from keras_vae.layers.elements import DependentElements, log_prob_of_elements
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.layers.families.multivariate_normal_low_rank import MultivariateNormalLowRankDistribution
from keras_vae.layers.families.multivariate_normal_tril import MultivariateNormalTriLDistribution

DRAWS = 100

# Gaussians, whose every unit is one, correlated with others or not.
GAUSSIANS = (
    IndependentNormalDistribution,
    MultivariateNormalLowRankDistribution,
    MultivariateNormalTriLDistribution,
    tfd.MultivariateNormalLinearOperator,
    tfd.Normal,
)


def kl_of_units(posterior, prior, seed):
    """KL(q(u|x) || p(u)) of each latent u on its own, `[N, *latent]`, nats, and how it was found, in words.

    For two Gaussians it is exact: see `unit_kl`. For others that have a density for each unit, it is the mean of
    log q(u|x) - log p(u) over 100 draws. Elsewhere, for a flow say, it is not known: None, and None.

    Args:
        posterior: q(z|x), batch `[N]`.
        prior: p(z), batch `[]`.
        seed: int32 `[2]`, of the draws.
    """
    if is_gaussian(posterior) and is_gaussian(prior):
        return unit_kl(posterior.mean(), posterior.stddev(), prior.mean(), prior.stddev()), "in closed form"
    z = posterior.sample(DRAWS, seed=seed)
    try:
        log_ratio = _log_prob_of_units(posterior, z) - _log_prob_of_units(prior, z)
    except DependentElements:
        return None, None
    return ops.mean(log_ratio, axis=0), f"by {DRAWS} draws an example"


def is_gaussian(distribution):
    """Whether a distribution is known to be a Gaussian: one of TFP's, or of this library's."""
    if hasattr(distribution, "reinterpreted_batch_ndims") and not isinstance(distribution, GAUSSIANS):
        distribution = distribution.distribution  # TFP's `Independent`
    return isinstance(distribution, GAUSSIANS)


def _log_prob_of_units(distribution, z):
    if is_gaussian(distribution):
        return tfd.Normal(distribution.mean(), distribution.stddev()).log_prob(z)
    return log_prob_of_elements(distribution, z)
