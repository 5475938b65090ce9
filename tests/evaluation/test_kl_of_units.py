"""The KL of each latent on its own: exact, by draws, or left out; against TFP, integrals and NumPy."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae import layers
from keras_vae.evaluation.kl_of_units import kl_of_units
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.priors import StandardNormal

tfd, tfb = tfp.distributions, tfp.bijectors
RNG = np.random.default_rng(0)
SEED = np.array([0, 1], "int32")
MEAN, SIGMA = RNG.normal(size=(5, 3)).astype("float32"), RNG.uniform(0.3, 2.0, (5, 3)).astype("float32")

GAUSSIANS = {
    "ours": IndependentNormalDistribution(MEAN, 2 * np.log(SIGMA), event_ndims=1),
    "diagonal": tfd.MultivariateNormalDiag(MEAN, SIGMA),
    "independent": tfd.Independent(tfd.Normal(MEAN, SIGMA), 1),
}
PRIORS = {
    "standard": (StandardNormal(3)(), 0.0, 1.0),
    "diagonal": (tfd.MultivariateNormalDiag([1.0, 0.0, -1.0], [2.0, 1.0, 0.5]), [1.0, 0.0, -1.0], [2.0, 1.0, 0.5]),
    "independent": (tfd.Independent(tfd.Normal(tf.ones(3), 2.0), 1), 1.0, 2.0),
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", GAUSSIANS)
def test_of_gaussians_it_is_tfp_s(posterior, prior):
    prior, loc, scale = PRIORS[prior]
    found, how = kl_of_units(GAUSSIANS[posterior], prior, SEED)
    assert how == "in closed form"
    expected = tfd.kl_divergence(tfd.Normal(MEAN, SIGMA), tfd.Normal(np.float32(loc), np.float32(scale)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [layers.MultivariateNormalTriL(3), layers.MultivariateNormalLowRank(3, rank=2)])
def test_of_correlated_gaussians_it_is_that_of_each_unit_s_own(layer):
    posterior = layer(RNG.normal(size=(5, 4)).astype("float32"))
    found, how = kl_of_units(posterior, StandardNormal(3)(), SEED)
    assert how == "in closed form"
    expected = tfd.kl_divergence(tfd.Normal(posterior.mean(), posterior.stddev()), tfd.Normal(0.0, 1.0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def integral(posterior, prior):
    """KL of two distributions of SciPy's."""
    ends = posterior.ppf([1e-9, 1 - 1e-9])
    return scipy.integrate.quad(lambda u: posterior.pdf(u) * (posterior.logpdf(u) - prior.logpdf(u)), *ends)[0]


OTHERS = {
    "a Laplace prior": (
        tfd.Independent(tfd.Normal(MEAN, SIGMA), 1),
        tfd.Independent(tfd.Laplace(tf.zeros(3), 0.5), 1),
        lambda m, s: (scipy.stats.norm(m, s), scipy.stats.laplace(0.0, 0.5)),
    ),
    "a logistic posterior": (
        layers.IndependentLogistic(3, projection=False)(np.concatenate([MEAN, 2 * np.log(SIGMA)], axis=-1)),
        tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3)),
        lambda m, s: (scipy.stats.logistic(m, np.hypot(s, 1e-3)), scipy.stats.norm(0.0, 1.0)),
    ),
}


@pytest.mark.parametrize("which", OTHERS)
def test_of_others_it_is_near_the_integral_by_draws_of_each_element_s_density(which):
    """Within 6 standard errors of 100 draws, by the draws' own spread. False-alarm rate: below 1e-6 for all 15."""
    posterior, prior, of_scipy = OTHERS[which]
    found, how = kl_of_units(posterior, prior, SEED)
    assert how == "by 100 draws an example"
    exact = np.array(
        [[integral(*of_scipy(m, s)) for m, s in zip(*rows, strict=True)] for rows in zip(MEAN, SIGMA, strict=True)]
    )
    draws = np.asarray(posterior.sample(4000, seed=SEED))
    spread = np.array(
        [
            [
                np.std(q.logpdf(draws[:, i, k]) - p.logpdf(draws[:, i, k]))
                for k in range(3)
                for q, p in [of_scipy(MEAN[i, k], SIGMA[i, k])]
            ]
            for i in range(5)
        ]
    )
    assert (np.abs(found - exact) < 6 * spread / 10 + 1e-5).all()
    moments = tfd.kl_divergence(
        tfd.Normal(posterior.mean(), posterior.stddev()), tfd.Normal(prior.mean(), prior.stddev())
    )
    assert (np.abs(moments - exact) > 0.01).any()  # what Gaussians of these moments have is another number


def test_of_a_flow_and_of_a_mixture_of_vectors_nothing_is_known():
    normal = GAUSSIANS["diagonal"]
    flow = tfd.TransformedDistribution(normal, tfb.SinhArcsinh(skewness=0.5))
    components = tfd.MultivariateNormalDiag(RNG.normal(size=(4, 3)).astype("float32"), tf.ones(3))
    mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(4)), components)
    assert kl_of_units(flow, StandardNormal(3)(), SEED) == (None, None)
    assert kl_of_units(normal, mixture, SEED) == (None, None)
