"""What values a likelihood can score, and what is said of one that it cannot."""

import dataclasses
import math

import numpy as np

from keras_vae.data.faults import position_of


@dataclasses.dataclass(frozen=True)
class Support:
    """The values of x that a family of distributions scores.

        support = keras_vae.layers.Support("Gamma", "x > 0", low=0.0, is_open=True)
        support.outside(np.array([0.0, 1.0]))  # [True, False]

    Attributes:
        family: the distribution layer's name.
        words: the support in words: "x in [0, 1]".
        low, high: its ends.
        is_open: whether the ends are outside.
        is_integer: whether only whole numbers are inside.
        may_be_missing: whether NaN stands for an entry that was not observed.
        advice: what to do about data that is outside, where that can be said.
        scored_in: the dtype in which x is scored.
        scales: whether bytes, 0 to 255, are a mistake where real numbers are scored: an image that was not scaled.
    """

    family: str
    words: str
    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False
    is_integer: bool = False
    may_be_missing: bool = False
    advice: str = ""
    scored_in: str = "float32"
    scales: bool = True

    def for_dtype(self, dtype, scored="float32"):
        """The support for data of a dtype, scored in another.

        Bytes are an image that was not scaled, where that is a mistake. What is inside open ends must not be rounded to
        them.
        """
        if self.is_open:
            return dataclasses.replace(self, scored_in=scored)
        if dtype != "uint8" or not self.scales or (self.low, self.high) != (-math.inf, math.inf):
            return self
        return dataclasses.replace(self, low=0.0, high=1.0, words=f"{self.words}, of bytes 0 and 1")

    @property
    def valid_value(self):
        """A number inside."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            middle = 0.5 * (self.low + self.high)
            return float(math.floor(middle)) if self.is_integer else middle
        return float(min(max(0.0, self.low + self.is_open), self.high - self.is_open))

    def outside(self, x):
        """For each number of a NumPy array, whether it is outside."""
        if self.is_open:
            x = x.astype(self.scored_in)
        outside = (x <= self.low) | (x >= self.high) if self.is_open else (x < self.low) | (x > self.high)
        return outside | (x != np.floor(x)) if self.is_integer else outside

    def error(self, x, name, where="", first_row=0):
        """The ValueError for the first value of a NumPy array that is outside, or None if there is none.

        Args:
            x: rows of numbers, of which the first has the number `first_row`.
            name, where: what to call them, and where they are.
        """
        if not x.size:
            return None
        low, high = x.min(), x.max()
        if self.is_open:
            low, high = (end.astype(self.scored_in) for end in (low, high))
        is_inside = self.low < low and high < self.high if self.is_open else self.low <= low and high <= self.high
        if is_inside and not (self.is_integer and x.dtype.kind == "f"):
            return None
        outside = self.outside(x)
        if not outside.any():
            return None
        first, place = outside.argmax(), position_of(outside.argmax(), x.shape, first_row)
        advice = self.advice
        if self.high == 1.0 and high > 2.0 and low >= 0.0:
            advice = "Pixels in 0..255? Scale them: x.astype('float32') / 255."
        return ValueError(
            f"{name}{where}: {self.family} scores {self.words}; received {x.flat[first]!s} at position {place}, the "
            f"first of {int(outside.sum())} value(s) outside. {advice}".rstrip()
        )


def levels_from_zero(family, levels):
    """The support of a family over the levels 0, ..., levels - 1."""
    words = f"whole numbers from 0 to {levels - 1}"
    advice = "Levels are counted from 0; pixels are not scaled."
    return Support(family, words, low=0.0, high=levels - 1.0, is_integer=True, advice=advice)
