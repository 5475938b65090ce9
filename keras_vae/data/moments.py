"""Count, mean and variance of each element of x, gathered in one pass over data of any kind, in float64."""

import dataclasses
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_vae.data import kinds

# Numbers of an array that are looked at together: as float64, 32 MB.
NUMBERS_AT_ONCE = 2**22

# Spread, relative to the mean, at which numbers are one number that was rounded.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Moments:
    """What is known of each element of x, of the examples in which it was observed.

        moments = Moments.of(np.array([[1.0, 2.0], [3.0, np.nan]]))
        moments.mean  # [2, 2]

    Each is a float64 array of the event's shape. What is not finite counts as not observed.

    Attributes:
        count: how many numbers.
        mean: their mean; 0 of none.
        squares: the sum of their squared distances from the mean.
        zeros: how many are 0.
        low, high: the smallest and the largest; infinities of none.
        levels: how many are each of the levels 0, 1, ..., `[*event, levels]`; None if these were not counted.
        elements: of what was pooled, the `Moments` of each element about the mean of all; else None.
    """

    count: Any
    mean: Any
    squares: Any
    zeros: Any
    low: Any
    high: Any
    levels: Any = None
    elements: Any = None

    @classmethod
    def of(cls, batch: Any, levels: int = 0) -> "Moments":
        """The moments of a batch `[B, *event]`, with so many levels counted."""
        x = np.asarray(batch).astype("float64")
        observed = np.isfinite(x)
        count = observed.sum(axis=0, dtype="float64")
        mean = np.where(observed, x, 0.0).sum(axis=0) / np.maximum(count, 1.0)
        counted = [(observed & (x == level)).sum(axis=0, dtype="float64") for level in range(levels)]
        return cls(
            count=count,
            mean=mean,
            squares=np.where(observed, np.square(x - mean), 0.0).sum(axis=0),
            zeros=(x == 0.0).sum(axis=0, dtype="float64"),
            low=np.where(observed, x, math.inf).min(axis=0, initial=math.inf),
            high=np.where(observed, x, -math.inf).max(axis=0, initial=-math.inf),
            levels=np.stack(counted, axis=-1) if counted else None,
        )

    @classmethod
    def given(cls, mean: Any, stddev: Any) -> "Moments":
        """The moments of one example whose mean and standard deviation are known beforehand."""
        mean, stddev = (np.asarray(each).astype("float64") for each in (mean, stddev))
        one, none = np.ones_like(mean), np.zeros_like(mean)
        return cls(one, mean, np.square(stddev) * one, none, mean - stddev, mean + stddev)

    @property
    def variance(self) -> np.ndarray:
        """The mean squared distance from the mean; 0 of a constant, and of nothing."""
        variance = self.squares / np.maximum(self.count, 1.0)
        return np.where(variance > np.square(ROUNDING * self.mean), variance, 0.0)

    @property
    def stddev(self) -> np.ndarray:
        """The square root of the variance."""
        return np.sqrt(self.variance)

    @property
    def largest(self) -> np.ndarray:
        """The largest absolute value; 0 of nothing."""
        return np.where(self.count > 0.0, np.maximum(np.abs(self.low), np.abs(self.high)), 0.0)

    def merged(self, other: "Moments") -> "Moments":
        """The moments of both together.

        (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American Statistician 37, 1983.)
        """
        count = self.count + other.count
        share = other.count / np.maximum(count, 1.0)
        distance = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + distance * share,
            squares=self.squares + other.squares + np.square(distance) * self.count * share,
            zeros=self.zeros + other.zeros,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            levels=None if self.levels is None else self.levels + other.levels,
        )

    def pooled(self, shape: tuple) -> "Moments":
        """The moments of all elements along the axes that have size 1 in `shape`, of as many axes as the event."""
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
        count = self.count.sum(axis=axes, keepdims=True)
        mean = (self.count * self.mean).sum(axis=axes, keepdims=True) / np.maximum(count, 1.0)
        squares = self.squares + self.count * np.square(self.mean - mean)
        return Moments(
            count=count,
            mean=mean,
            squares=squares.sum(axis=axes, keepdims=True),
            zeros=self.zeros.sum(axis=axes, keepdims=True),
            low=self.low.min(axis=axes, keepdims=True),
            high=self.high.max(axis=axes, keepdims=True),
            levels=None if self.levels is None else self.levels.sum(axis=axes, keepdims=True),
            elements=dataclasses.replace(self, mean=mean + np.zeros_like(self.mean), squares=squares),
        )

    def flat(self) -> "Moments":
        """Count, mean, squares and range of the elements in a row, `[D]`."""
        names = ("count", "mean", "squares", "zeros", "low", "high")
        return Moments(**{name: np.reshape(getattr(self, name), -1) for name in names})


def moments_of(x: Any, part: Callable, levels: Any = 0, batch_size: int | None = None, steps: int | None = None) -> Any:
    """The moments of a part of x, in one pass; a dictionary of them, if the part is one.

    Args:
        x: arrays, a `tf.data.Dataset`, a `PyDataset`.
        part: a function of a batch of x to an array `[B, *event]`, or a dictionary of them.
        levels: how many levels to count, for each part.
        batch_size, steps: of the first so many batches alone; `batch_size` is of arrays, 32 by default.

    Raises:
        ValueError: x is a generator, which has one pass; or has no end, and `steps` is not given.
    """
    found = None
    for batch in batches_of(x, batch_size, steps):
        scored = part(batch)
        if isinstance(scored, dict):
            here = {name: Moments.of(each, levels[name]) for name, each in scored.items()}
            found = here if found is None else {name: found[name].merged(each) for name, each in here.items()}
        else:
            here = Moments.of(scored, levels)
            found = here if found is None else found.merged(here)
    if found is None:
        raise kinds.empty("x")
    return found


def batches_of(x: Any, batch_size: int | None = None, steps: int | None = None) -> Iterator:
    """The batches of x, from its first on, without labels."""
    if kinds.holds_arrays(x):
        leaves = keras.tree.flatten(x)
        rows = leaves[0].shape[0] if steps is None else min(leaves[0].shape[0], steps * (batch_size or 32))
        largest = max(math.prod(leaf.shape[1:]) for leaf in leaves)
        size = max(1, NUMBERS_AT_ONCE // max(1, largest))
        for first in range(0, rows, size):
            last = min(first + size, rows)
            yield keras.tree.map_structure(lambda leaf, a=first, b=last: leaf[a:b], x)
        return
    if kinds.is_dataset(x):
        has_end, batches = not kinds.is_endless(x), iter(x)
    elif isinstance(x, keras.utils.PyDataset):
        has_end = x.num_batches is not None
        numbers = range(x.num_batches) if has_end else range(steps or 0)
        batches = (x[number] for number in numbers)
    else:
        kind = "a generator" if isinstance(x, types.GeneratorType) else f"a {type(x).__name__}"
        raise ValueError(
            "adapt: expected x to be arrays, a tf.data.Dataset or a PyDataset, which `fit` can read again; received "
            f"{kind}. Give it some of the examples as an array."
        )
    if steps is None and not has_end:
        raise ValueError("adapt: expected `steps`, the number of batches to look at, for a data set that has no end")
    for number, element in enumerate(batches):
        if steps is not None and number >= steps:
            return
        yield keras.utils.unpack_x_y_sample_weight(element)[0]
