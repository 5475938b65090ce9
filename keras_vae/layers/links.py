"""The inverses of what layers make of their features, in NumPy: which feature gives a wanted value, kept finite."""

import keras
import numpy as np

# How near to an end of its range a value is reached: nearer, the function has no slope left to learn by.
NEAREST = 1e-4


def logit(value):
    """log(p / (1 - p))."""
    return np.log(value) - np.log1p(-value)


def inverse_softplus(value):
    """The y of softplus(y) = value, log(exp(value) - 1), for positive values."""
    return value + np.log(-np.expm1(-value))


def share(moments):
    """The mean of numbers between 0 and 1, half a number away from both ends at least."""
    nearest = 0.5 / (np.maximum(moments.count, 1.0) + 1.0)
    return np.clip(moments.mean, nearest, 1.0 - nearest)


def rate(moments):
    """The mean of counts, half a count in all at least."""
    return np.maximum(moments.mean, 0.5 / np.maximum(moments.count, 1.0))


def inverse_of(activation):
    """The inverse of a Keras activation, a function of arrays; None if it is not known."""
    return {
        keras.activations.linear: lambda value: value,
        keras.activations.relu: lambda value: np.maximum(value, NEAREST),
        keras.activations.sigmoid: lambda value: logit(np.clip(value, NEAREST, 1.0 - NEAREST)),
        keras.activations.tanh: lambda value: np.arctanh(np.clip(value, NEAREST - 1.0, 1.0 - NEAREST)),
        keras.activations.softplus: lambda value: inverse_softplus(np.maximum(value, NEAREST)),
        keras.activations.exponential: lambda value: np.log(np.maximum(value, NEAREST)),
    }.get(activation)
