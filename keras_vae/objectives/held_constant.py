"""What an objective holds of a constant: a number in a variable, a variable of one's own, or a schedule."""

import types

import keras
import numpy as np
from keras import ops

from keras_vae import backend
from keras_vae.checks import is_number
from keras_vae.objectives.values import Schedule, number_of


class HeldConstant(keras.layers.Layer):
    """What an objective holds of a constant. A number becomes a variable when the model is built.

    Args:
        owner: the name of the objective's class.
        label: the name of its attribute.
        value: a number, a `keras.Variable`, or a schedule.
    """

    def __init__(self, owner, label, value):
        super().__init__(dtype="float32")
        self.owner, self.label = owner, label
        self.variable = None
        # Keras looks into all else for variables, and would train one that is given.
        self.known = types.SimpleNamespace()
        self.set(value)

    @property
    def weights(self):
        """None: as a seed is, it is state and no weight, so `get_weights` and `count_params` leave it out."""
        return []

    def get(self):
        """The constant as it was set; in a program that is being traced, a number's tensor."""
        value = self.known.value
        if self.variable is None or isinstance(value, keras.Variable):
            return value
        if backend.is_tracing():
            return ops.convert_to_tensor(self.variable)
        number = number_of(self.variable)  # which a file, too, may have set
        return value if number == self.known.number else number

    def set(self, value):
        """Sets the constant: of a built objective, its number alone."""
        if not self.built:
            self.known.value = value
            self.known.initial = None if isinstance(value, Schedule) else rounded(number_of(value))
        elif is_number(value) and self.variable is not None:
            self.variable.assign(rounded(value))
            if not isinstance(self.known.value, keras.Variable):
                self.known.value, self.known.number = value, number_of(self.variable)
        elif value is not self.known.value:
            kind = "the schedule that it is" if self.variable is None else "a number"
            raise ValueError(
                f"{self.owner}: expected `{self.label}` to stay {kind}, which the built model's programs were made "
                f"with; received: {value!r}. Give the model another objective: "
                f"vae.objective = {self.owner}({self.label}=...)"
            )

    def build(self, dtype="float32"):
        value = self.known.value
        if isinstance(value, keras.Variable):
            value.trainable = False  # training would take it to 0
            self.variable = value
        elif not isinstance(value, Schedule):
            self.known.number = float(rounded(value).astype(dtype))
            self.variable = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(rounded(value)),
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
