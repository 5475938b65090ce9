"""The KL of a posterior from a prior: in closed form where there is one, or by the draws."""

from keras import ops

from keras_vae import compat
from keras_vae.backend import tfd

# Distributions of others, by TFP's form of their KL: a sum of those of the others.
PASSING_ON = {
    compat.registered_kl(kind, kind): kind
    for kind in (tfd.Independent, tfd.Sample, tfd.Masked, tfd.TransformedDistribution, tfd.Blockwise)
}


def kl_divergence(forward):
    """KL(q(z|x) || p(z)), `[B]`, nats: in closed form, or else by the draws."""
    if has_closed_form(forward.posterior, forward.prior):
        return forward.posterior.kl_divergence(forward.prior)
    return kl_by_draws(forward)


def kl_by_draws(forward):
    """The draws' mean of log q(z|x) - log p(z), `[B]`, nats."""
    return ops.mean(forward.log_posterior - forward.log_prior, axis=0)


def has_closed_form(q, p):
    """Whether TFP has a closed form of KL(q || p) registered.

    Where that is a sum over distributions of which q and p are made, it is asked of those. An error inside of a form is
    no sign that there is none.
    """
    form = compat.registered_kl(type(q), type(p))
    if form not in PASSING_ON:
        return form is not None
    if PASSING_ON[form] is tfd.TransformedDistribution and q.bijector != p.bijector:
        return False
    pairs = zip(*map(parts_of, (q, p)), strict=False)  # of unequal length: TFP says what is wrong
    return all(has_closed_form(*pair) for pair in pairs)


def parts_of(distribution):
    """The distributions that one is made of, a list."""
    parts = getattr(distribution, "distributions", None)
    return list(parts) if isinstance(parts, (list, tuple)) else [getattr(distribution, "distribution", parts)]


def check_closed_form(owner, q, p):
    """Raises ValueError unless TFP has a closed form of KL(q || p) registered."""
    if not has_closed_form(q, p):
        names = (type(each).__name__.strip("_") for each in (q, p))
        raise ValueError(
            '{}: expected a closed form of KL(q(z|x) || p(z)) with kl="closed"; none is registered of {} from {}. Take '
            'kl="draws", the mean of log q(z|x) - log p(z) over the draws; or register one with '
            "tfp.distributions.RegisterKL.".format(owner, *names)
        )
