"""Passes that no model made, of posteriors and draws that a test chooses; and posteriors whose moments NumPy knows."""

import keras
import numpy as np
import tensorflow as tf

from keras_vae.backend import tfd, tfp
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.layers.families.multivariate_normal_low_rank import MultivariateNormalLowRankDistribution
from keras_vae.layers.families.multivariate_normal_tril import MultivariateNormalTriLDistribution
from keras_vae.objectives import ForwardPass

RANDOM = np.random.default_rng(0)
B, D = 12, 3
MEANS, SIGMAS = RANDOM.normal(size=(B, D)), RANDOM.uniform(0.3, 1.5, (B, D))
TRIANGLES = np.tril(RANDOM.normal(size=(B, D, D)), -1) + SIGMAS[:, None] * np.eye(D)
FACTORS = RANDOM.normal(size=(B, 2, D))
POSTERIORS = {
    "independent": IndependentNormalDistribution(tf.constant(MEANS), tf.constant(2 * np.log(SIGMAS)), 1),
    "TFP's": tfd.MultivariateNormalDiag(MEANS, SIGMAS),
    "full": MultivariateNormalTriLDistribution(tf.constant(MEANS), tf.constant(TRIANGLES)),
    "low rank": MultivariateNormalLowRankDistribution(
        tf.constant(MEANS), tf.constant(np.log(SIGMAS)), tf.constant(FACTORS), 1
    ),
}
COVARIANCES = {
    "independent": SIGMAS[:, None] ** 2 * np.eye(D),
    "TFP's": SIGMAS[:, None] ** 2 * np.eye(D),
    "full": TRIANGLES @ np.swapaxes(TRIANGLES, 1, 2),
    "low rank": SIGMAS[:, None] ** 2 * np.eye(D) + np.swapaxes(FACTORS, 1, 2) @ FACTORS,
}


def pass_of(posterior, z, prior=None, sample_weight=None):
    """A `ForwardPass` of draws `[S, B, *latent]` in float64, whose likelihood says nothing.

    Args:
        posterior: q(z|x), batch `[B]`.
        z: the draws, or how many of them an example.
        prior: p(z). Default: standard normal.
        sample_weight: `[B]`.
    """
    z = posterior.sample(z, seed=[7, 8]) if isinstance(z, int) else tf.convert_to_tensor(z)
    if prior is None:
        latent = z.shape[2:]
        prior = tfd.Independent(tfd.Normal(tf.zeros(latent, z.dtype), tf.ones(latent, z.dtype)), len(latent))
    likelihood = tfd.Normal(tf.zeros(z.shape[:2], z.dtype), tf.ones([], z.dtype))
    x = tf.zeros(z.shape[1:2], z.dtype)
    weight = None if sample_weight is None else np.asarray(sample_weight, "float32")
    return ForwardPass(x, posterior, z, likelihood, prior, seed=tf.constant([5, 6]), sample_weight=weight)


class Flow(keras.layers.Layer):
    """Ends an encoder in a flow, whose units have no densities of their own."""

    def call(self, features):
        base = tfd.MultivariateNormalDiag(features, tf.ones_like(features))
        return tfd.TransformedDistribution(base, tfp.bijectors.Softplus())

    def compute_output_spec(self, features):
        return keras.KerasTensor(features.shape, features.dtype)
