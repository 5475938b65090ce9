"""Scales, which say where a location-scale layer's sigma comes from: one small class each.

A scale is a Keras layer that gives log sigma, broadcastable with the location. By sigma is meant what a family calls
its scale: for a Gaussian, the standard deviation. A scale may own weights, take `parameters_per_element` numbers from
the network, or be fitted to the training data (`Optimal`). Scales that are not fixed meet a smooth floor,

    sigma^2 = exp(raw) + floor^2,

so that a variance which training drives to zero stays positive, and its gradient fades instead of becoming NaN. They
are cut off above sigma = e^40.
"""

import numbers

from keras_vae.scales.base import Scale
from keras_vae.scales.fixed import Fixed
from keras_vae.scales.optimal import Optimal
from keras_vae.scales.per_dimension import PerDimension
from keras_vae.scales.per_element import PerElement
from keras_vae.scales.shared import Shared

__all__ = ["Fixed", "Optimal", "PerDimension", "PerElement", "Scale", "Shared"]


def get(scale, dtype=None):
    """Returns the `Scale` that an argument stands for: itself, `Fixed` for a number, `PerElement()` for None.

    A scale that is made here gets the policy `dtype`.

    Raises:
        ValueError: `scale` is none of these, or a number that is not positive.
    """
    if scale is None:
        return PerElement(dtype=dtype)
    if isinstance(scale, Scale):
        return scale
    if isinstance(scale, numbers.Real) and not isinstance(scale, bool):
        return Fixed(scale, dtype=dtype)
    raise ValueError(
        "Expected `scale` to be a positive number or a keras_vae.scales object: Fixed(value), Shared(), "
        f"PerDimension(), PerElement() or Optimal(); received: {scale!r}"
    )


def __dir__():
    return __all__
