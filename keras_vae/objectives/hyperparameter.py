"""A constant of an objective: a number, which may be set while a model trains, or a schedule."""

import math

import keras
import numpy as np

from keras_vae.checks import is_number
from keras_vae.objectives.held_constant import HeldConstant
from keras_vae.objectives.values import Schedule, number_of, probed_steps, value_at

LARGEST = float(np.finfo("float32").max)


class Hyperparameter:
    """An attribute of an objective that is a constant of it: a weight of a term, say, or a target.

    It is a number, a `keras.Variable` of one, or a schedule of the optimizer's iterations. A number may be set at any
    time, and counts from the next step on. Programs are not traced anew, since a built objective holds it in a
    variable. It reads as a number again; in a program that is being traced, as a tensor. `forward.value_of` gives its
    value at the step of a pass.

    Outside training a schedule counts with its final value, that of step 2^31 - 1. A schedule that never comes to rest,
    `CosineDecayRestarts` say, has no final value: what it gives there is arbitrary. Take one that ends, or a number.

    A schedule is looked at before it is used. Its steps 0, the powers of 2 and 2^31 - 1 are seen, and those around each
    number of its configuration, such as a boundary. A value that is out of bounds at other steps alone is not seen.

        @keras.saving.register_keras_serializable("my_package")
        class Tempered(keras_vae.objectives.ELBO):
            heat = keras_vae.objectives.Hyperparameter()

            def __init__(self, heat=1.0, **kwargs):
                super().__init__(**kwargs)
                self.heat = heat

            @property
            def term_weights(self):
                return {"nll": self.heat, "kl": self.beta}


        objective = Tempered(heat=0.5)
        objective.heat = 0.25

    Args:
        least, most: the bounds of its values, both allowed.

    Raises:
        ValueError: what is set is none of these; is not finite, or out of bounds, at some step that is looked at;
            does not go with the objective's other constants; or is of another kind than that of a built model.
    """

    def __init__(self, least: float = 0.0, most: float = math.inf):
        self.least, self.most = least, most

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, objective, owner=None):
        if objective is None:
            return self
        return self.held_by(objective).get()

    def __set__(self, objective, value):
        if hasattr(value, "shape") and not isinstance(value, keras.Variable) and tuple(value.shape) == ():
            value = as_number(value)
        self.check(type(objective).__name__, value)
        objective.check_constants({**objective.constants(), self.name: value})
        if self.is_set(objective):
            self.held_by(objective).set(value)
        else:
            setattr(objective, f"_{self.name}", HeldConstant(type(objective).__name__, self.name, value))

    def check(self, owner, value):
        """Raises ValueError unless a value may be set."""
        bounds = f" >= {self.least:g}" if self.most == math.inf else f" from {self.least:g} to {self.most:g}"
        bounds = "" if (self.least, self.most) == (-math.inf, math.inf) else bounds
        if isinstance(value, Schedule):
            for step in probed_steps(value):
                at_step = number_of(value_at(value, step))
                if not self.allows(at_step):
                    raise ValueError(
                        f"{owner}: expected `{self.name}` to be a schedule of finite numbers{bounds}; received: "
                        f"{value!r}, which gives {at_step:g} at step {step}"
                    )
            return
        is_scalar = isinstance(value, keras.Variable) and tuple(value.shape) == () and "float" in value.dtype
        if not (is_scalar or is_number(value)) or not self.allows(value if is_number(value) else number_of(value)):
            raise ValueError(
                f"{owner}: expected `{self.name}` to be a finite number{bounds}, a float keras.Variable of one, or a "
                f"keras.optimizers.schedules.LearningRateSchedule; received: {value!r}"
            )

    def allows(self, number):
        """Whether a float is finite, in the float32 of a term too, and within the bounds."""
        return abs(number) <= LARGEST and self.least <= number <= self.most

    def config_of(self, objective):
        """The constant as a configuration has it: a variable as its number."""
        value = self.__get__(objective)
        return keras.saving.serialize_keras_object(number_of(value) if isinstance(value, keras.Variable) else value)

    def is_set(self, objective):
        """Whether an objective has the constant: not before its constructor has come so far."""
        return hasattr(objective, f"_{self.name}")

    def held_by(self, objective):
        """The `HeldConstant` of an objective."""
        if not self.is_set(objective):
            raise AttributeError(
                f"{type(objective).__name__}: expected the Hyperparameter `{self.name}` to be set in `__init__`; it "
                "has no value"
            )
        return getattr(objective, f"_{self.name}")


def as_number(value):
    """A scalar array's or tensor's number; what has none, as it is."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def hyperparameters_of(cls):
    """The `Hyperparameter`s of a class, those of its bases first."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    return [constant for name in names if isinstance(constant := getattr(cls, name, None), Hyperparameter)]
