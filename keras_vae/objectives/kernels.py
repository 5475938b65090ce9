"""Kernels: how alike two latents are, by their distance."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_vae.checks import check_positive
from keras_vae.reprs import repr_of

__all__ = ["RBF", "InverseMultiquadratic", "Kernel"]


class Kernel:
    """A positive definite function of the distance of two latents, k(z, z') = f(|z - z'|^2).

    A subclass defines `of`. It is registered with Keras, to be saved.

        @keras.saving.register_keras_serializable("my_package")
        class Laplace(keras_vae.objectives.kernels.Kernel):
            def of(self, squared_distance, scale):
                return keras.ops.exp(-keras.ops.sqrt(squared_distance + 1e-12) / scale)

            def default_scale(self, units):
                return units**0.5


        objective = keras_vae.objectives.WAE(weight=10.0, kernel=Laplace())

    Args:
        scale: the distance over which latents are alike, a positive number; several, a list or an array `[N]`, for
            the sum of their kernels; or None for `default_scale`.

    Raises:
        ValueError: `scale` is not as above.
    """

    def __init__(self, scale: float | Sequence[float] | None = None):
        scale = scale.tolist() if hasattr(scale, "tolist") else scale  # NumPy's, which a file has no words for
        several = isinstance(scale, (list, tuple))
        if several and not scale:
            raise ValueError(f"{type(self).__name__}: expected `scale` to hold a number at least; received: {scale!r}")
        for each in scale if several else () if scale is None else (scale,):
            check_positive(type(self).__name__, "scale", each)
        self.scale = scale

    def of(self, squared_distance: Any, scale: float) -> Any:
        """k at squared distances |z - z'|^2, of any shape.

        Args:
            squared_distance: a tensor >= 0.
            scale: one number.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `of`")

    def default_scale(self, units: int) -> float:
        """The scale for latents of so many units, where none was given."""
        raise NotImplementedError(f"{type(self).__name__} must define `default_scale`, or be given a scale")

    def scales(self, units: int) -> list[float]:
        """The scales whose kernels are summed, for latents of so many units."""
        scale = self.default_scale(units) if self.scale is None else self.scale
        return list(scale) if isinstance(scale, (list, tuple)) else [scale]

    def __call__(self, one: Any, other: Any) -> Any:
        """k of all pairs, `[..., N, M]`, of latents `[..., N, D]` and `[..., M, D]`."""
        # By differences: products of matrices would round what nearly cancels.
        difference = ops.expand_dims(one, -2) - ops.expand_dims(other, -3)
        squared_distance = ops.sum(ops.square(difference), axis=-1)
        return sum(self.of(squared_distance, scale) for scale in self.scales(one.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale}

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        return cls(**config)

    def __repr__(self):
        return repr_of(self)


@keras.saving.register_keras_serializable("keras_vae")
class RBF(Kernel):
    """The Gaussian kernel, k(z, z') = exp(-|z - z'|^2 / (2 s^2)).

    By default s^2 is the number of units, D. Then 2 s^2 is the mean squared distance of two draws from N(0, I). It is
    the kernel of InfoVAE (arXiv 1706.02262). Its authors' code has 2 s^2 = D^2.

        objective = keras_vae.objectives.InfoVAE(kernel=keras_vae.objectives.kernels.RBF(scale=2.0))

    Args:
        scale: s, a positive number; several, for the sum of their kernels; or None for sqrt(D).

    Raises:
        ValueError: `scale` is not as above.
    """

    def of(self, squared_distance: Any, scale: float) -> Any:
        return ops.exp(squared_distance * (-0.5 / scale**2))

    def default_scale(self, units: int) -> float:
        return math.sqrt(units)


@keras.saving.register_keras_serializable("keras_vae")
class InverseMultiquadratic(Kernel):
    """The inverse multiquadratic kernel, k(z, z') = s^2 / (s^2 + |z - z'|^2), whose tails are heavy.

    So it has a slope also at latents that lie far from the prior. It is the kernel of section 4 of the paper on the
    WAE (arXiv 1711.01558). There s^2 = C = 2 D, the mean squared distance of two draws from N(0, I). The authors'
    code sums it over seven C, from 0.1 to 10 times that:

        scales = [(2 * 4 * factor) ** 0.5 for factor in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
        kernel = keras_vae.objectives.kernels.InverseMultiquadratic(scales)
        objective = keras_vae.objectives.WAE(weight=10.0, kernel=kernel)

    Args:
        scale: s, a positive number; several, for the sum of their kernels; or None for sqrt(2 D).

    Raises:
        ValueError: `scale` is not as above.
    """

    def of(self, squared_distance: Any, scale: float) -> Any:
        return scale**2 / (scale**2 + squared_distance)

    def default_scale(self, units: int) -> float:
        return math.sqrt(2 * units)


def check_kernel(owner, kernel):
    """`kernel`, if it is a `Kernel`.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(kernel, Kernel):
        raise ValueError(
            f"{owner}: expected `kernel` to be a keras_vae.objectives.kernels.Kernel, such as RBF() or "
            f"InverseMultiquadratic(); received: {kernel!r}"
        )
    return kernel


def __dir__():
    return __all__
