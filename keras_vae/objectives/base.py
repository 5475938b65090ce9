"""The base class of the objectives, and how the weight of a term becomes a number."""

import math
from typing import Any

import keras

from keras_vae.checks import check_integer, is_number
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.reprs import repr_of

Schedule = keras.optimizers.schedules.LearningRateSchedule

# Where a schedule is asked for its final value: past the end of any training.
LAST_STEP = 2**31 - 1


class Objective:
    """An ordered set of named, weighted terms: what a VAE minimises, in nats per example.

    A subclass defines `weights`, `__call__`, `elbo` and `get_config`, and is registered with Keras to be saved.

        @keras.saving.register_keras_serializable("my_package")
        class Halved(keras_vae.objectives.ELBO):
            @property
            def weights(self):
                return {"nll": 0.5, "kl": self.beta}


        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=Halved())

    Args:
        num_samples: how many draws of the latent an example, the L of equation 8 of AEVB (arXiv 1312.6114).

    Raises:
        ValueError: `num_samples` is not a positive integer.
    """

    def __init__(self, num_samples: int = 1):
        self.num_samples = check_integer(type(self).__name__, "num_samples", num_samples)

    @property
    def weights(self) -> dict[str, Any]:
        """The weight of every term, `{name: weight}`: numbers or `LearningRateSchedule`s."""
        raise NotImplementedError(f"{type(self).__name__} must define `weights`")

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        """The terms of a `ForwardPass`: `{name: [B]}`, nats per example, named and ordered as `weights`.

        Ask for log p(x|z) by `forward.log_likelihood`. It is computed once, and each part's share is reported of it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `__call__`")

    def elbo(self, terms: dict[str, Any]) -> Any:
        """The unweighted evidence lower bound from the terms, `[B]`, nats per example."""
        raise NotImplementedError(f"{type(self).__name__} must define `elbo`")

    def get_config(self) -> dict[str, Any]:
        return {"num_samples": self.num_samples}

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        return cls(**config)

    def __repr__(self):
        return repr_of(self)


def weight_at(weight, step=None):
    """A weight's value: a schedule's at the optimizer's iteration `step`, or its final one if `step` is None."""
    if isinstance(weight, Schedule):
        return weight(LAST_STEP if step is None else step)
    return weight


def check_weight(owner, name, weight):
    """Returns `weight`, if it is a finite number that is not negative, or a schedule."""
    if not (is_number(weight) and 0 <= weight < math.inf) and not isinstance(weight, Schedule):
        raise ValueError(
            f"{owner}: expected `{name}` to be a finite number >= 0 or a keras.optimizers.schedules."
            f"LearningRateSchedule; received: {weight!r}"
        )
    return weight
