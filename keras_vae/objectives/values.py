"""The values of constants: at a step, at all steps that are looked at, and of functions of several."""

import math

import keras
from keras import ops

from keras_vae import backend
from keras_vae.checks import is_number
from keras_vae.schedules.progress import LAST_STEP

Schedule = keras.optimizers.schedules.LearningRateSchedule

# Where every schedule is looked at before it is used.
PROBED_STEPS = (0, *(2**power for power in range(31)), LAST_STEP)
MOST_CORNERS = 300  # beside them, for each takes a millisecond


def number_of(value):
    """A number, or the number that a variable or a tensor holds: a float."""
    return float(value if is_number(value) else ops.convert_to_numpy(value))


def value_at(value, step=None):
    """A constant's value: a schedule's at the optimizer's iteration `step`, or its final one if `step` is None.

    The final one is that of `LAST_STEP`. A schedule that never comes to rest, `CosineDecayRestarts` say, has none: what
    it gives there is one of its values, and no limit.
    """
    if isinstance(value, Schedule):
        return value(LAST_STEP if step is None else step)
    return value


def weights_at(objective, step=None):
    """The value of each term's weight, by name: of schedules as `value_at` has it."""
    return {name: value_at(weight, step) for name, weight in objective.term_weights.items()}


def probed_steps(schedule):
    """The steps at which a schedule is looked at; none while a program is traced, which has no values.

    These are 0, the powers of 2 and `LAST_STEP`. Each number of its configuration is one, with the steps on both sides:
    boundaries, say, or how long it decays. So a schedule that is monotone, or constant, between such numbers is seen
    whole. What one of another kind does between these steps is not seen. Where there are more than `MOST_CORNERS` such
    steps, some are passed over.
    """
    if backend.is_tracing():
        return ()
    near = sorted(corners(schedule))
    return sorted({*PROBED_STEPS, *near[:: 1 + len(near) // MOST_CORNERS]})


def corners(schedule):
    """The steps beside each number of a schedule's configuration, where it may change its course; a set."""
    if isinstance(schedule, Combined):
        return set().union(*(corners(each) for each in schedule.constants if isinstance(each, Schedule)))
    if type(schedule) is keras.optimizers.schedules.PiecewiseConstantDecay:
        # Each value once, and no more: to evaluate this one takes as long as it has boundaries.
        return {min(math.floor(each) + 1, LAST_STEP) for each in schedule.boundaries}
    try:
        settings = keras.tree.flatten(schedule.get_config())
    except NotImplementedError:  # one of the user's own, which is not to be saved
        return set()
    whole = [math.floor(each) for each in settings if is_number(each) and math.isfinite(each)]
    return {near for each in whole for near in (each - 1, each, each + 1) if 0 <= near <= LAST_STEP}


def lowest(weight):
    """The smallest value that a term's weight has at the `probed_steps`; infinite while a program is traced."""
    if backend.is_tracing():
        return math.inf
    if not isinstance(weight, Schedule):
        return number_of(weight)
    return min(number_of(value_at(weight, step)) for step in probed_steps(weight))


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
