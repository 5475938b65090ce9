"""The doubly reparameterized gradient of importance-weighted bounds: one pass, one decoding."""

import keras
from keras import ops

from keras_vae import backend
from keras_vae.objectives.forward_pass import Tap


def tapped(z):
    """Draws whose gradient is scaled by their normalised weights: see `keras_vae.objectives.IWAE`.

    The gradient of log 1/S sum_s w_s reaches the decoder with the weights v_s = w_s / sum w. The doubly
    reparameterized gradient reaches z with their squares: sum_s v_s^2 d log w_s / dz_s (Tucker et al., arXiv
    1810.04152). Only a pass that has decoded z knows v. So z passes here an identity that also gives a
    probe of zeros. The log weights have it added, and its gradient brings v back.

    Args:
        z: `[S, B, *latent]`.
    """
    dtype = keras.backend.result_type(z.dtype, "float32")  # log weights are never in half precision

    @backend.custom_gradient
    def identity(z):
        def gradient(*args, upstream=None):
            of_z, of_probe = args if upstream is None else upstream
            total = ops.sum(of_probe, axis=0, keepdims=True)
            share = of_probe / ops.where(ops.equal(total, 0.0), 1.0, total)  # v; an example of weight 0 has none
            share = ops.reshape(share, (*ops.shape(share), *[1] * (len(z.shape) - 2)))
            return of_z * ops.cast(share, of_z.dtype)

        return (z, ops.zeros(ops.shape(z)[:2], dtype=dtype)), gradient

    return Tap(*identity(z))
