"""How far a step is on its way, exactly for steps that float32 cannot tell apart."""

import keras
from keras import ops

# Where a schedule is asked for its final value: past the end of any training.
LAST_STEP = 2**31 - 1


def in_steps(step):
    """An optimizer's iteration, a number or a tensor of any kind, as whole steps: an int64 tensor."""
    return ops.cast(step, "int64")


def progress(step, delay, steps):
    """The share of `steps` that have passed since `delay`, from 0 to 1, in Keras's default precision."""
    passed = ops.cast(ops.maximum(in_steps(step) - delay, 0), keras.backend.floatx())
    return ops.minimum(passed / steps, 1.0)


def between(start, end, share):
    """The number at a share of the way: `start` at 0, and `end`, to the last bit, at 1."""
    return start * (1.0 - share) + end * share
