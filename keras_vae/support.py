"""What values a likelihood can score, and what is said of one that it cannot."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Support:
    """The values of x that a family of distributions scores.

    Attributes:
        family: the distribution layer's name.
        words: the support in words: "x in [0, 1]".
        low, high: its ends.
        is_open: whether the ends are outside.
        is_integer: whether only whole numbers are inside.
        may_be_missing: whether NaN stands for an entry that was not observed.
        advice: what to do about data that is outside, where that can be said.
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
    scales: bool = True

    def for_dtype(self, dtype):
        """The support for data of a dtype: bytes are an image that was not scaled, where that is a mistake."""
        if dtype != "uint8" or not self.scales or (self.low, self.high) != (-math.inf, math.inf):
            return self
        return dataclasses.replace(self, low=0.0, high=1.0, words=f"{self.words}, of bytes 0 and 1")

    @property
    def some_value(self):
        """A number inside."""
        if math.isinf(self.low) or math.isinf(self.high):
            return 0.0 if self.low < 0.0 < self.high or not self.is_open else self.low + 1.0
        middle = 0.5 * (self.low + self.high)
        return float(math.floor(middle)) if self.is_integer else middle

    def outside(self, x):
        """For each number of a NumPy array, whether it is outside."""
        outside = (x <= self.low) | (x >= self.high) if self.is_open else (x < self.low) | (x > self.high)
        return outside | (x != np.floor(x)) if self.is_integer else outside

    def error(self, x, name, where=""):
        """The ValueError for the first value of a NumPy array that is outside, or None if there is none."""
        if not x.size:
            return None
        low, high = x.min(), x.max()
        is_inside = self.low < low and high < self.high if self.is_open else self.low <= low and high <= self.high
        if is_inside and not (self.is_integer and x.dtype.kind == "f"):
            return None
        outside = self.outside(x)
        if not outside.any():
            return None
        first = tuple(int(i) for i in np.unravel_index(outside.argmax(), x.shape))
        advice = self.advice
        if self.high == 1.0 < high and low >= 0.0:
            advice = "Pixels in 0..255? Scale them: x.astype('float32') / 255."
        return ValueError(
            f"{name}{where}: {self.family} scores {self.words}; received {x[first]!s} at position {list(first)}, the "
            f"first of {int(outside.sum())} value(s) outside. {advice}".rstrip()
        )


def levels_from_zero(family, levels):
    """The support of a family over the levels 0, ..., levels - 1."""
    words = f"whole numbers from 0 to {levels - 1}"
    return Support(family, words, low=0.0, high=levels - 1.0, is_integer=True)
