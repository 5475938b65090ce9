"""A KL that is held at a capacity."""

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.checks import check_choice
from keras_vae.objectives.base import Objective
from keras_vae.objectives.batch import batch_mean, of_each_example
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class Capacity(Objective):
    """A KL that is held at a capacity, which may grow: equation 8 of Burgess et al. (arXiv 1804.03599).

        loss = E_q(z|x)[ -log p(x|z) ] + gamma |KL(q(z|x) || p(z)) - C|,    in nats per example

    A capacity that grows lets the latents take up one factor of variation after another. The paper raises C from near
    0 in a straight line, with a large gamma.

        C = keras_vae.schedules.LinearWarmup(steps=1000, end=25.0)
        objective = keras_vae.objectives.Capacity(capacity=C, gamma=100.0)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    The term `capacity_gap` is the distance |KL - C|. The KL is in closed form where TFP has one registered, else by
    draws, as that of `ELBO`. A number may be set at any time: `vae.objective.capacity = 5.0`.

    Args:
        capacity: C, in nats, as `ELBO` has its beta: a number >= 0, a `keras.Variable` of one, or a schedule. One bit
            is log 2 = 0.693 nats.
        gamma: the weight of the distance, of the same kinds.
        over: what is held at C. With "example", the default and the equation, it is the KL of each example. With
            "batch" it is the batch's mean KL, as in the code of Locatello et al. (arXiv 1811.12359). Then examples may
            differ. Sample weights weigh that mean; on several devices it is of a replica's share of the batch.
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: `capacity` or `gamma` is negative or not finite, at some step, or neither number nor schedule;
            `over` is not as above; `num_samples` is not a positive integer.
    """

    capacity = Hyperparameter()
    gamma = Hyperparameter()

    def __init__(
        self,
        capacity: float | LearningRateSchedule | keras.Variable,
        gamma: float | LearningRateSchedule | keras.Variable = 100.0,
        over: str = "example",
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(num_samples, **kwargs)
        self.capacity = capacity
        self.gamma = gamma
        self.over = check_choice(type(self).__name__, "over", over, ("example", "batch"))

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"nll": 1.0, "capacity_gap": self.gamma}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        kl = ops.cast(forward.kl, forward.nll.dtype)
        if self.over == "batch":
            kl = of_each_example(batch_mean(kl, forward), forward)
        gap = ops.abs(kl - ops.cast(forward.value_of(self.capacity), kl.dtype))
        return {"nll": forward.nll, "capacity_gap": gap}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "over": self.over}
