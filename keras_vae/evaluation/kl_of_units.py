"""The KL of each latent on its own, where it is known: in closed form, or by draws."""

from keras_vae.layers.elements import DependentElements
from keras_vae.layers.units import closed_kl_of_units, kl_of_units_by_draws

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
    closed = closed_kl_of_units(posterior, prior)
    if closed is not None:
        return closed, "in closed form"
    z = posterior.sample(DRAWS, seed=seed)
    try:
        return kl_of_units_by_draws(posterior, prior, z), f"by {DRAWS} draws an example"
    except DependentElements:
        return None, None
