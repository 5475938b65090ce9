"""Measures of a VAE's latents: how active each is, and how much all together say of x."""

from keras import ops

# Of the variance of a unit's posterior means: Burda, Grosse & Salakhutdinov (arXiv 1509.00519), section 5.2.
ACTIVE_ABOVE = 0.01


def activity(means):
    """How active each latent is, `[*latent]`: the variance over examples of its posterior mean.

        A_u = Var_x( E_q(u|x)[u] ),    and u is active if A_u > 0.01

    Burda, Grosse & Salakhutdinov, arXiv 1509.00519, section 5.2.

        keras_vae.evaluation.activity(vae.encode(x).mean())  # [4]

    Args:
        means: of q(z|x), `[N, *latent]`.
    """
    return ops.var(means, axis=0)


def mutual_information(posterior, z):
    """An estimate of I(x; z) under q, in nats, from one draw an example; it cannot exceed log N.

        I(x; z) ~= 1/N sum_n [ log q(z_n|x_n) - log 1/N sum_m q(z_n|x_m) ],    z_n ~ q(z|x_n)

    The mean KL is I(x; z) plus KL(q(z) || p(z)) (Hoffman & Johnson, "ELBO surgery", NIPS 2016 workshop). The estimate
    is biased downwards, as its q(z) is of N examples and not of all.

        posterior = vae.encode(x)
        keras_vae.evaluation.mutual_information(posterior, posterior.sample(seed=0))

    Args:
        posterior: q(z|x), batch `[N]`.
        z: a draw of each, `[N, *latent]`.
    """
    # [n, m]: the density of the n-th draw under the m-th posterior.
    log_densities = posterior.log_prob(ops.expand_dims(z, 1))
    own, size = ops.diagonal(log_densities), ops.cast(ops.shape(z)[0], log_densities.dtype)
    return ops.mean(own - ops.logsumexp(log_densities, axis=1)) + ops.log(size)
