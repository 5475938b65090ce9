"""A constant of an objective: a number, which may be set while a model trains, or a schedule."""

import math
import threading
import types

import keras
import numpy as np
from keras import ops

from keras_vae import backend
from keras_vae.checks import is_number

Schedule = keras.optimizers.schedules.LearningRateSchedule

# Where a schedule is asked for its final value: past the end of any training.
LAST_STEP = 2**31 - 1

# Where a schedule is looked at before it is used.
PROBED_STEPS = (0, *(2**power for power in range(31)), LAST_STEP)

# The names of the constants that this thread reads, while `beside_weights` listens.
_read = threading.local()


class Hyperparameter:
    """An attribute of an objective that is a constant of it: a weight of a term, say, or a target.

    It is a number, a `keras.Variable` of one, or a schedule of the optimizer's iterations. A number may be set at any
    time, and counts from the next step on. Programs are not traced anew, since a built objective holds it in a
    variable. It reads as a number again; in a program that is being traced, as a tensor. `forward.value_of` gives its
    value at the step of a pass.

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
        ValueError: what is set is none of these; is not finite, or out of bounds, at some step; or is of another kind
            than the objective of a built model has.
    """

    def __init__(self, least: float = 0.0, most: float = math.inf):
        self.least, self.most = least, most

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, objective, owner=None):
        if objective is None:
            return self
        getattr(_read, "names", set()).add(self.name)
        return self.held_by(objective).get()

    def __set__(self, objective, value):
        if hasattr(value, "shape") and not isinstance(value, keras.Variable) and tuple(value.shape) == ():
            value = float(value)
        self.check(type(objective).__name__, value)
        if hasattr(objective, f"_{self.name}"):
            self.held_by(objective).set(value)
        else:
            setattr(objective, f"_{self.name}", HeldConstant(type(objective).__name__, self.name, value))

    def check(self, owner, value):
        """Raises ValueError unless a value may be set."""
        bounds = f" >= {self.least:g}" if self.most == math.inf else f" from {self.least:g} to {self.most:g}"
        bounds = "" if (self.least, self.most) == (-math.inf, math.inf) else bounds
        if isinstance(value, Schedule):
            for step, at_step in probed(value):
                if not self.allows(at_step):
                    raise ValueError(
                        f"{owner}: expected `{self.name}` to be a schedule of finite numbers{bounds}; received: "
                        f"{value!r}, which gives {at_step:g} at step {step}"
                    )
            return
        is_scalar = isinstance(value, keras.Variable) and tuple(value.shape) == () and "float" in value.dtype
        if not (is_scalar or is_number(value)) or not self.allows(number_of(value)):
            raise ValueError(
                f"{owner}: expected `{self.name}` to be a finite number{bounds}, a keras.Variable of one, or a keras."
                f"optimizers.schedules.LearningRateSchedule; received: {value!r}"
            )

    def allows(self, number):
        """Whether a float is finite, and within the bounds."""
        return math.isfinite(number) and self.least <= number <= self.most

    def config_of(self, objective):
        """The constant as a configuration has it: a variable as its number."""
        value = self.__get__(objective)
        return keras.saving.serialize_keras_object(number_of(value) if isinstance(value, keras.Variable) else value)

    def held_by(self, objective):
        """The `HeldConstant` of an objective."""
        return getattr(objective, f"_{self.name}")


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


def number_of(value):
    """A number, or the number that a variable holds: a float."""
    return float(value if is_number(value) else ops.convert_to_numpy(value))


def probed(schedule):
    """`(step, value)` of a schedule at steps far and near; none while a program is traced, which has no values."""
    if not backend.is_tracing():
        yield from ((step, float(ops.convert_to_numpy(schedule(step)))) for step in PROBED_STEPS)


def value_at(value, step=None):
    """A constant's value: a schedule's at the optimizer's iteration `step`, or its final one if `step` is None."""
    if isinstance(value, Schedule):
        return value(LAST_STEP if step is None else step)
    return value


def combined(function, *constants):
    """A function of constants, as a term's weight: a schedule where one of them is one."""
    if any(isinstance(constant, Schedule) for constant in constants):
        return Combined(function, constants)
    return function(*constants)


class Combined(Schedule):
    """A schedule that is a function of other constants at the same step.

    Args:
        function: of numbers.
        constants: as many numbers, variables or schedules.
    """

    def __init__(self, function, constants):
        self.function, self.constants = function, constants

    def __call__(self, step):
        return self.function(*(value_at(constant, step) for constant in self.constants))


def lowest(weight):
    """The smallest value that a term's weight has at steps far and near; infinite while a program is traced."""
    if backend.is_tracing():
        return math.inf
    return min(value for _, value in probed(weight)) if isinstance(weight, Schedule) else number_of(weight)


def hyperparameters_of(cls):
    """The `Hyperparameter`s of a class, those of its bases first."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    return [constant for name in names if isinstance(constant := getattr(cls, name, None), Hyperparameter)]


def beside_weights(objective):
    """An objective's constants of which no weight of a term is made, by name, as they were set."""
    _read.names = set()
    try:
        objective.term_weights  # noqa: B018 - it is what reads them
        of_weights = _read.names
    finally:
        del _read.names
    names = (constant.name for constant in hyperparameters_of(type(objective)))
    found = {name: getattr(objective, name) for name in names if name not in of_weights}
    for part in getattr(objective, "parts", ()):  # of a `Sum`
        found |= beside_weights(part)
    return found


def weights_at(objective, step=None):
    """The value of each term's weight, by name: of schedules as `value_at` has it."""
    return {name: value_at(weight, step) for name, weight in objective.term_weights.items()}
