"""The weight of a term: a number, which may be set while a model trains, or a schedule."""

import math
import types

import keras
import numpy as np
from keras import ops

from keras_vae import backend
from keras_vae.checks import is_number

Schedule = keras.optimizers.schedules.LearningRateSchedule

# Where a schedule is asked for its final value: past the end of any training.
LAST_STEP = 2**31 - 1


class TermWeight:
    """An attribute of an objective that weighs a term: a number >= 0, a `keras.Variable` of one, or a schedule.

    A number may be set at any time, and counts from the next step on. Programs are not traced anew, since a built
    objective holds it in a variable. It reads as a number again; in a program that is being traced, as a tensor.

        @keras.saving.register_keras_serializable("my_package")
        class Tempered(keras_vae.objectives.ELBO):
            heat = keras_vae.objectives.TermWeight()

            def __init__(self, heat=1.0, **kwargs):
                super().__init__(**kwargs)
                self.heat = heat

            @property
            def term_weights(self):
                return {"nll": self.heat, "kl": self.beta}


        objective = Tempered(heat=0.5)
        objective.heat = 0.25

    Raises:
        ValueError: what is set is none of these; or of another kind than the objective of a built model has.
    """

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, objective, owner=None):
        return self if objective is None else self.held_by(objective).get()

    def __set__(self, objective, weight):
        if hasattr(weight, "shape") and not isinstance(weight, keras.Variable) and tuple(weight.shape) == ():
            weight = float(weight)
        check_weight(type(objective).__name__, self.name, weight)
        if hasattr(objective, f"_{self.name}"):
            self.held_by(objective).set(weight)
        else:
            setattr(objective, f"_{self.name}", HeldWeight(type(objective).__name__, self.name, weight))

    def config_of(self, objective):
        """The weight as a configuration has it: a variable as its number."""
        weight = self.__get__(objective)
        return keras.saving.serialize_keras_object(number_of(weight) if isinstance(weight, keras.Variable) else weight)

    def held_by(self, objective):
        """The `HeldWeight` of an objective."""
        return getattr(objective, f"_{self.name}")


class HeldWeight(keras.layers.Layer):
    """What an objective holds of a term's weight. A number becomes a variable when the model is built.

    Args:
        owner: the name of the objective's class.
        label: the name of its attribute.
        weight: a number, a `keras.Variable`, or a schedule.
    """

    def __init__(self, owner, label, weight):
        super().__init__(dtype="float32")
        self.owner, self.label = owner, label
        self.variable = None
        # Keras looks into all else for variables, and would train one that is given.
        self.known = types.SimpleNamespace()
        self.set(weight)

    @property
    def weights(self):
        """None: as a seed is, it is state and no weight, so `get_weights` and `count_params` leave it out."""
        return []

    def get(self):
        """The weight as it was set; in a program that is being traced, a number's tensor."""
        weight = self.known.weight
        if self.variable is None or isinstance(weight, keras.Variable):
            return weight
        if backend.is_tracing():
            return ops.convert_to_tensor(self.variable)
        number = number_of(self.variable)  # which a file, too, may have set
        return weight if number == self.known.number else number

    def set(self, weight):
        """Sets the weight: of a built objective, its number alone."""
        if not self.built:
            self.known.weight = weight
            self.known.initial = None if isinstance(weight, Schedule) else rounded(number_of(weight))
        elif is_number(weight) and self.variable is not None:
            self.variable.assign(rounded(weight))
            if not isinstance(self.known.weight, keras.Variable):
                self.known.weight, self.known.number = weight, number_of(self.variable)
        elif weight is not self.known.weight:
            kind = "the schedule that it is" if self.variable is None else "a number"
            raise ValueError(
                f"{self.owner}: expected `{self.label}` to stay {kind}, which the built model's programs were made "
                f"with; received: {weight!r}. Give the model another objective: "
                f"vae.objective = {self.owner}({self.label}=...)"
            )

    def build(self, dtype="float32"):
        weight = self.known.weight
        if isinstance(weight, keras.Variable):
            weight.trainable = False  # training would take it to 0
            self.variable = weight
        elif not isinstance(weight, Schedule):
            self.known.number = float(rounded(weight).astype(dtype))
            self.variable = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(rounded(weight)),
                dtype=dtype,
                trainable=False,
                autocast=False,
                name=self.label,
            )

    def save_own_variables(self, store):
        if self.known.initial is not None:
            number = self.known.initial if self.variable is None else number_of(self.variable)
            store["number"] = np.array([self.known.initial, number])

    def load_own_variables(self, store):
        # A model that was made with another number keeps its own, as it does a seed: unless it is that of the file, of
        # which the configuration may have lost digits. Earlier files have none.
        if "number" in list(store.keys()) and self.variable is not None:
            initial, number = np.asarray(store["number"])
            if self.known.initial in (initial, rounded(float(number))):
                self.variable.assign(number)


def rounded(number):
    """A number as Keras makes a tensor of it, as float64: what is Python's is rounded to float32."""
    return np.float64(np.float32(number) if type(number) is float else number)


def number_of(weight):
    """The number of a weight, or of a variable that holds one: a float."""
    return float(ops.convert_to_numpy(weight) if isinstance(weight, keras.Variable) else weight)


def check_weight(owner, name, weight):
    """Returns `weight`, if it is a finite number that is not negative, a variable of one, or a schedule."""
    is_scalar = isinstance(weight, keras.Variable) and tuple(weight.shape) == () and "float" in weight.dtype
    is_one = is_scalar or is_number(weight)
    if not (is_one and 0 <= number_of(weight) < math.inf) and not isinstance(weight, Schedule):
        raise ValueError(
            f"{owner}: expected `{name}` to be a finite number >= 0, a keras.Variable of one, or a keras.optimizers."
            f"schedules.LearningRateSchedule; received: {weight!r}"
        )
    return weight


def weight_at(weight, step=None):
    """A weight's value: a schedule's at the optimizer's iteration `step`, or its final one if `step` is None."""
    if isinstance(weight, Schedule):
        return weight(LAST_STEP if step is None else step)
    return weight


def weights_at(objective, step=None):
    """The value of each term's weight, by name: of schedules as `weight_at` has it."""
    return {name: weight_at(weight, step) for name, weight in objective.term_weights.items()}
