"""A combination of the importance-weighted bound and the ELBO."""

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.objectives.bounds.importance_weighted import ImportanceWeighted, log_mean_exp
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class CIWAE(ImportanceWeighted):
    """The combination of the importance-weighted bound with the ELBO: section 5 of Rainforth et al. (1802.04537).

        L = beta ELBO + (1 - beta) L_S,    both by the same S draws,    in nats per example

    With beta = 0 it is `IWAE`'s bound; with beta = 1, the ELBO by draws.

        objective = keras_vae.objectives.CIWAE(beta=0.1, num_samples=64)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    Args:
        beta: the ELBO's share, a number from 0 to 1, a `keras.Variable` of one, or a schedule: see `ELBO`.
        num_samples: S, how many draws of the latent an example.

    Raises:
        ValueError: `beta` is not as above; `num_samples` is not a positive integer.
    """

    beta = Hyperparameter(most=1.0)

    def __init__(self, beta: float | LearningRateSchedule | keras.Variable = 0.5, num_samples: int = 64, **kwargs):
        super().__init__(num_samples, **kwargs)
        self.beta = beta

    def bound(self, log_weights: Any, forward: ForwardPass) -> Any:
        share = ops.cast(forward.value_of(self.beta), log_weights.dtype)
        # A weight of 0 makes them infinite: what has no share adds 0, and not infinity times 0.
        elbo = ops.where(share > 0.0, ops.mean(log_weights, axis=0), 0.0)
        tighter = ops.where(share < 1.0, log_mean_exp(log_weights), 0.0)
        return share * elbo + (1.0 - share) * tighter
