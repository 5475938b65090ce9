"""The variational Renyi bound."""

from typing import Any

import keras
from keras import ops

from keras_vae.checks import check_finite
from keras_vae.objectives.bounds.importance_weighted import ImportanceWeighted, log_mean_exp
from keras_vae.objectives.forward_pass import ForwardPass


@keras.saving.register_keras_serializable("keras_vae")
class RenyiBound(ImportanceWeighted):
    """The variational Renyi bound: section 3 of Li & Turner (arXiv 1602.02311), by S draws.

        L_alpha = 1 / (1 - alpha) log E_q(z|x)[ (p(x, z) / q(z|x))^(1 - alpha) ],    in nats per example
               ~= 1 / (1 - alpha) log 1/S sum_s w_s^(1 - alpha)

    It falls as alpha grows. At alpha = 0 the estimate is `IWAE`'s bound; at alpha = 1, its limit, it is the ELBO by
    draws. For alpha < 1 the mean of the estimate lies below L_alpha, and approaches it with S (theorem 2). For
    alpha < 0 it may exceed log p(x), and is no lower bound. So the gradient is that of the estimate's mean: biased for
    L_alpha itself, unless alpha = 1.

        objective = keras_vae.objectives.RenyiBound(alpha=0.5, num_samples=50)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    Args:
        alpha: the order, a finite number.
        num_samples: S, how many draws of the latent an example.

    Raises:
        ValueError: `alpha` is not a finite number; `num_samples` is not a positive integer.
    """

    def __init__(self, alpha: float = 0.5, num_samples: int = 5, **kwargs):
        super().__init__(num_samples, **kwargs)
        self.alpha = check_finite("RenyiBound", "alpha", alpha)

    def bound(self, log_weights: Any, forward: ForwardPass) -> Any:
        order = 1.0 - self.alpha
        mean = ops.mean(log_weights, axis=0)
        if order == 0.0:
            return mean
        # Near its limit a logarithm near 0 is divided by a number near 0. There it is written from the mean on.
        from_mean = order * (log_weights - mean)
        is_near = ops.max(ops.abs(from_mean), axis=0) < 0.1
        near = ops.log1p(ops.mean(ops.expm1(ops.where(is_near, from_mean, 0.0)), axis=0))
        return ops.where(is_near, mean + near / order, log_mean_exp(order * log_weights) / order)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}
