"""Passes that no model made: of posteriors and draws that a test chooses."""

import numpy as np
import tensorflow as tf

from keras_vae.backend import tfd
from keras_vae.objectives import ForwardPass


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
