"""Measures of disentanglement against known factors, for Gaussian posteriors, by NumPy.

`disentangle.py` needs them until `keras_vae.evaluation` has them.
"""

import math

import numpy as np

CHUNK = 100  # draws at once: a matrix of as many rows, with a column an image
VOTES, VOTERS = 800, 100  # sets of images, and images in a set


def aggregate(means, stddevs, factors, num_draws):
    """The total correlation of q(z), in nats, its standard error, and I(z_u; v) / H(v), `[D, K]`, of latent and factor.

        E[ log q(z) - sum_u log q(z_u) ],    I(z_u; v) = E[ log q(z_u|v) - log q(z_u) ]

    Each z is drawn from the posterior of an image. q(z) is the mean of the posteriors of all images, and q(z_u|v) of
    those whose factor has that image's value: section 4 of Chen et al. (arXiv 1802.04942). So no density is estimated,
    and the means over z alone have an error.

    Args:
        means, stddevs: of the Gaussian q(z_u|x_n), `[N, D]`.
        factors: integers from 0, `[N, K]`.
        num_draws: of z.
    """
    rng = np.random.default_rng(0)
    rows = rng.choice(len(means), num_draws, replace=num_draws > len(means))
    z = means[rows] + stddevs[rows] * rng.standard_normal((num_draws, means.shape[1]))
    one_hot = [np.eye(values.max() + 1)[values] for values in factors.T]
    averages = [each / each.sum(axis=0) for each in one_hot]  # [N, values]: over the images that have a value
    together, apart, told = [], [], []
    for start in range(0, num_draws, CHUNK):
        part = slice(start, start + CHUNK)
        log_joint, log_units, log_given = 0.0, 0.0, []
        for unit in range(means.shape[1]):
            deviation = (z[part, unit, None] - means[:, unit]) / stddevs[:, unit]
            log_density = -0.5 * (deviation**2 + math.log(math.tau)) - np.log(stddevs[:, unit])  # [draws, N]
            density = np.exp(log_density)
            log_unit = np.log(density.mean(axis=1))
            given = [(density @ average)[np.arange(len(rows[part])), factors[rows[part], factor]]
                     for factor, average in enumerate(averages)]  # fmt: skip
            log_given.append([np.log(each) - log_unit for each in given])
            log_joint, log_units = log_joint + log_density, log_units + log_unit
        most = log_joint.max(axis=1)
        together.append(most + np.log(np.exp(log_joint - most[:, None]).mean(axis=1)))
        apart.append(log_units)
        told.append(log_given)
    difference = np.concatenate(together) - np.concatenate(apart)
    information = np.concatenate(told, axis=2).mean(axis=2)
    shares = [each.mean(axis=0) for each in one_hot]
    entropies = [-np.sum(share * np.log(share)) for share in shares]
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(num_draws)), information / entropies


def gaps(information):
    """The mutual information gap of each factor, `[K]`, of I(z_u; v) / H(v), `[D, K]`.

    It is between the two latents that know most. Its mean over the factors is the MIG, equation 6 of Chen et al.
    (arXiv 1802.04942), from 0 to 1.
    """
    ordered = np.sort(information, axis=0)
    return ordered[-1] - ordered[-2]


def factor_score(means, active, factors):
    """FactorVAE's score, the share of sets of images whose common factor is told by one latent, from 0 to 1.

    The images of a set share the value of one factor. The active latent votes whose means vary least, relative to all
    images. Each latent stands for the factor that it votes for most often, in 800 sets; 800 others are scored. Kim &
    Mnih (arXiv 1802.05983), section 4, score those they counted.

    Args:
        means: of the posteriors, `[N, D]`.
        active: which latents are, `[D]`. Where none is, the score is 0.
        factors: `[N, K]`.
    """
    if not active.any():
        return 0.0
    rng = np.random.default_rng(0)
    used = means[:, active] / means[:, active].std(axis=0)
    votes = np.zeros((2, used.shape[1], factors.shape[1]))  # to count, and to score
    for number in range(2 * VOTES):
        factor = rng.integers(factors.shape[1])
        same = np.flatnonzero(factors[:, factor] == rng.choice(factors[:, factor]))
        latent = used[rng.choice(same, VOTERS)].var(axis=0).argmin()
        votes[number % 2, latent, factor] += 1
    return float(votes[1][np.arange(used.shape[1]), votes[0].argmax(axis=1)].sum() / VOTES)
