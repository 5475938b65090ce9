"""The base class of the objectives."""

from typing import Any

import keras

from keras_vae.checks import check_integer
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.term_weight import TermWeight
from keras_vae.reprs import repr_of


class Objective(keras.layers.Layer):
    """An ordered set of named, weighted terms: what a VAE minimises, in nats per example.

    A subclass defines `term_weights`, `__call__` and `elbo`, and is registered with Keras to be saved. A number that
    may be set while a model trains is a `TermWeight`. Networks and other state are the objective's as they are any
    layer's. They are saved with the VAE.

        @keras.saving.register_keras_serializable("my_package")
        class Halved(keras_vae.objectives.ELBO):
            @property
            def term_weights(self):
                return {"nll": 0.5, "kl": self.beta}


        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=Halved())

    Args:
        num_samples: how many draws of the latent an example, the L of equation 8 of AEVB (arXiv 1312.6114).
        **kwargs: as of `keras.layers.Layer`.

    Raises:
        ValueError: `num_samples` is not a positive integer.
    """

    def __init__(self, num_samples: int = 1, **kwargs):
        # Terms are float32 or float64, whatever the policy.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_samples = check_integer(type(self).__name__, "num_samples", num_samples)
        self.layer_arguments = tuple(kwargs)

    @property
    def term_weights(self) -> dict[str, Any]:
        """The weight of every term, `{name: weight}`: numbers or `LearningRateSchedule`s."""
        raise NotImplementedError(f"{type(self).__name__} must define `term_weights`")

    def build(self, dtype: str = "float32") -> None:
        """Makes variables of the numbers that may be set, of the `dtype` of the terms."""
        for weight in term_weights_of(type(self)):
            weight.held_by(self).build(dtype)

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:  # Keras's own wants tensors
        """The terms of a `ForwardPass`: `{name: [B]}`, nats per example, named and ordered as `term_weights`.

        Ask for log p(x|z) by `forward.log_likelihood`. It is computed once, and each part's share is reported of it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `__call__`")

    def elbo(self, terms: dict[str, Any]) -> Any:
        """The unweighted evidence lower bound from the terms, `[B]`, nats per example."""
        raise NotImplementedError(f"{type(self).__name__} must define `elbo`")

    def __setattr__(self, name, value):
        # Before Keras sees it, which would have a variable among those that are trained.
        weight = getattr(type(self), name, None)
        if isinstance(weight, TermWeight):
            weight.__set__(self, value)
        else:
            super().__setattr__(name, value)

    def get_build_config(self):
        """None: the VAE builds its objective, in its strategy's scope."""

    def get_config(self) -> dict[str, Any]:
        # What all layers have, only where it was given: a constructor of one's own need not take it.
        common = {name: value for name, value in super().get_config().items() if name in self.layer_arguments}
        weights = {each.name: each.config_of(self) for each in term_weights_of(type(self))}
        return {**common, "num_samples": self.num_samples, **weights}

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        names = {weight.name for weight in term_weights_of(cls)} & set(config)
        return cls(**{**config, **{name: keras.saving.deserialize_keras_object(config[name]) for name in names}})

    def __repr__(self):
        return repr_of(self)


def term_weights_of(cls):
    """The `TermWeight`s of a class, those of its bases first."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    return [weight for name in names if isinstance(weight := getattr(cls, name, None), TermWeight)]
