"""The base class of the objectives."""

import functools
import inspect
from typing import Any

import keras

from keras_vae import backend, compat
from keras_vae.checks import check_integer
from keras_vae.objectives.configuration import check_config, takes
from keras_vae.objectives.forward_pass import ForwardPass, Tap
from keras_vae.objectives.hyperparameter import Hyperparameter, hyperparameters_of
from keras_vae.objectives.kl import has_closed_form
from keras_vae.reprs import repr_of


class Objective(keras.layers.Layer):
    """An ordered set of named, weighted terms: what a VAE minimises, in nats per example.

    A subclass defines `term_weights` and `__call__`, and is registered with Keras to be saved. A constant that may be
    set while a model trains, or be a schedule, is a `Hyperparameter`. Other arguments are in its `get_config`. Networks
    and other state are the objective's as they are any layer's. They are saved with the VAE. Whatever is minimised, the
    model reports `nll`, `kl` and `elbo` unweighted, and beside them the objective's own terms.

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
        """Makes variables of the numbers that may be set, of the `dtype` of the terms.

        Networks are built by the first, symbolic pass.
        """
        for constant in hyperparameters_of(type(self)):
            constant.held_by(self).build(dtype)
        for part in self.held_objectives():
            if not part.built:
                part.build(dtype)

    def held_objectives(self) -> list["Objective"]:
        """The objectives that this one is made of, as a `Sum` is: each is built, told and committed with it."""
        held = [each for each in compat.layers_of(self, include_self=False) if isinstance(each, Objective)]
        within = {id(inner) for each in held for inner in compat.layers_of(each, include_self=False)}
        return [each for each in held if id(each) not in within]

    def constants(self) -> dict[str, Any]:
        """The constants as they were set, `{name: value}`: numbers, variables and schedules, each a `Hyperparameter`.

        Those that a constructor has not come to yet are left out.
        """
        return {each.name: getattr(self, each.name) for each in hyperparameters_of(type(self)) if each.is_set(self)}

    def check_constants(self, constants: dict[str, Any]) -> None:
        """Raises ValueError unless constants go together: called before one is set, with all as they would be.

        Args:
            constants: as `constants()`. In a constructor those that come later are not there yet.
        """

    def prepare(self, num_examples: int | None) -> None:
        """Called by `fit` before the first step, with how many examples the data hold; None where that is not known.

        `evaluate`, `predict` and `export` call it with None, which takes nothing back that is known.
        """
        for part in self.held_objectives():
            part.prepare(num_examples)

    def draw(self, posterior: Any, seed: Any) -> Any:
        """Draws of the latent, `[S, B, *latent]`: `num_samples` an example.

        Args:
            posterior: q(z|x), batch `[B]`.
            seed: int32 `[2]`.
        """
        return posterior.sample(self.num_samples, seed=backend.seed_for_rows(seed, posterior))

    def tap(self, z: Any) -> Tap:
        """The draws as the decoder is given them: equal to z, with another gradient where an objective wants one."""
        return Tap(z)

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:  # Keras's own wants tensors
        """The terms of a `ForwardPass`: `{name: [B]}`, nats per example, named and ordered as `term_weights`.

        Ask for densities by the pass: `forward.log_likelihood`. They are computed once.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `__call__`")

    def commit(self, forward: ForwardPass) -> None:
        """Called after the terms of each pass of a model's `call`: takes up what is learned without a gradient.

        `__call__` changes no state, so that a pass may be scored for its own sake.
        """
        for part in self.held_objectives():
            part.commit(forward)

    def has_closed_kl(self, posterior: Any, prior: Any) -> bool:
        """Whether the `kl` that is reported is a closed form, and not by draws."""
        return has_closed_form(posterior, prior)

    def learned_values(self) -> dict[str, Any]:
        """What the objective has learned beside its networks, `{name: number}`, reported as metrics are."""
        return {}

    def __setattr__(self, name, value):
        # Before Keras sees it, which would have a variable among those that are trained.
        constant = getattr(type(self), name, None)
        if isinstance(constant, Hyperparameter):
            constant.__set__(self, value)
            return
        if getattr(self, "built", False) and name in fixed_arguments_of(type(self)):
            raise ValueError(
                f"{type(self).__name__}: expected `{name}` to stay {getattr(self, name)!r}, which the built model's "
                f"programs were made with; received: {value!r}. Give the model another objective: "
                f"vae.objective = {type(self).__name__}({name}=...)"
            )
        super().__setattr__(name, value)

    def get_build_config(self):
        """None: the VAE builds its objective, in its strategy's scope."""

    def get_config(self) -> dict[str, Any]:
        # What all layers have, only where it was given: a constructor of one's own need not take it.
        common = {name: value for name, value in super().get_config().items() if name in self.layer_arguments}
        constants = {each.name: each.config_of(self) for each in hyperparameters_of(type(self))}
        config = {**common, "num_samples": self.num_samples, **constants}
        # What a constructor does not take it makes by itself; its number is among the model's weights.
        return {name: value for name, value in config.items() if takes(type(self), name)}

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        check_config(cls, config)
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def __repr__(self):
        return repr_of(self)


@functools.cache
def fixed_arguments_of(cls):
    """The names of a constructor's arguments, those that are a `Hyperparameter` among them, and `num_samples`."""
    return {"num_samples", *inspect.signature(cls.__init__).parameters} - {"self", "args", "kwargs"}


def elbo_of(terms):
    """The evidence lower bound, `[B]`, nats: -(nll + kl), whatever is minimised."""
    return -(terms["nll"] + terms["kl"])
