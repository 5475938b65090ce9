"""The mean of several importance-weighted bounds."""

from typing import Any

import keras
from keras import ops

from keras_vae.checks import check_integer
from keras_vae.objectives.bounds.importance_weighted import ImportanceWeighted, log_mean_exp
from keras_vae.objectives.forward_pass import ForwardPass


@keras.saving.register_keras_serializable("keras_vae")
class MIWAE(ImportanceWeighted):
    """The multiply importance-weighted bound: section 5 of Rainforth et al. (arXiv 1802.04537).

        L_M,K = E[ 1/M sum_m log 1/K sum_k w_mk ],    M K draws of z,    in nats per example

    With M = 1 it is `IWAE`'s bound; with K = 1, the ELBO by draws. K makes the bound tighter. M makes the encoder's
    gradient less noisy.

        objective = keras_vae.objectives.MIWAE(num_bounds=8, num_samples=64)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    Args:
        num_bounds: M, how many bounds are averaged.
        num_samples: M K, how many draws of the latent an example there are in all.

    Raises:
        ValueError: `num_bounds` or `num_samples` is not a positive integer, or the one does not divide the other.
    """

    def __init__(self, num_bounds: int = 8, num_samples: int = 64, **kwargs):
        super().__init__(num_samples, **kwargs)
        self.num_bounds = check_integer(type(self).__name__, "num_bounds", num_bounds)
        if self.num_samples % self.num_bounds:
            raise ValueError(
                f"{type(self).__name__}: expected `num_samples` to be a multiple of `num_bounds`, as many draws for "
                f"each bound; received: num_samples={num_samples!r}, num_bounds={num_bounds!r}"
            )

    def bound(self, log_weights: Any, forward: ForwardPass) -> Any:
        draws = ops.shape(log_weights)[0] // self.num_bounds  # in a `Sum`, the first objective's
        groups = ops.reshape(log_weights, (draws, self.num_bounds, -1))  # [K, M, B]
        return ops.mean(log_mean_exp(groups), axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_bounds": self.num_bounds}
