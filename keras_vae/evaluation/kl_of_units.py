"""The KL of each latent on its own, where it is known: in closed form, or by draws."""

from keras import ops

from keras_vae.evaluation.latents import unit_kl
from keras_vae.layers.elements import DependentElements
from keras_vae.layers.units import is_gaussian, log_prob_of_units

DRAWS = 100


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
        log_ratio = log_prob_of_units(posterior, z) - log_prob_of_units(prior, z)
    except DependentElements:
        return None, None
    return ops.mean(log_ratio, axis=0), f"by {DRAWS} draws an example"
