"""A row for every family of distribution layers and every scale: what checks.py needs to know in order to check it.

A new family is a few rows here; every check of checks.py then holds for it, or fails.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.special
import scipy.stats

from keras_vae import layers, scales


@dataclasses.dataclass(frozen=True)
class Case:
    """One distribution layer.

    Attributes:
        name: the test's id.
        make: keyword arguments of the layer (`dtype`, `projection`, ...) to a new layer.
        event_shape: shape of one draw.
        log_prob: (distribution, x) to SciPy's log-density of x, `[..., B]`, in float64, from the distribution's own
            parameters.
        marginal: the distribution to SciPy's frozen distribution of each element, `[B, *event]`.
        draw_x: (generator, shape) to data in the support.
        features: shape of one example's features.
        learns_sigma: whether it has a scale that is learned, with a floor.
    """

    name: str
    make: Callable
    event_shape: tuple
    log_prob: Callable
    marginal: Callable
    draw_x: Callable
    features: tuple = (6,)
    learns_sigma: bool = False

    def __str__(self):
        return self.name

    @property
    def event_axes(self):
        """The event's axes, counted from the end."""
        return tuple(range(-len(self.event_shape), 0))


def float64(tensor):
    """A tensor, or array, as a float64 array."""
    return np.asarray(tensor).astype("float64")


def normal(name, event_shape, scale, features=(6,)):
    """A row for `IndependentNormal`; `scale` makes a new scale, so that no two layers share one."""

    def frozen(distribution):
        sigma = np.exp(0.5 * float64(distribution.log_variance))
        return scipy.stats.norm(*np.broadcast_arrays(float64(distribution.loc), sigma))

    def log_prob(distribution, x):
        terms = frozen(distribution).logpdf(float64(x))
        return terms.sum(axis=tuple(range(-len(event_shape), 0)))

    return Case(
        name=f"normal-{name}-rank{len(event_shape)}",
        make=lambda **kwargs: layers.IndependentNormal(event_shape, scale=scale(), **kwargs),
        event_shape=event_shape,
        log_prob=log_prob,
        marginal=frozen,
        draw_x=lambda rng, shape: rng.normal(0.5, 1.5, shape),
        features=features,
        learns_sigma=not isinstance(scales.get(scale()), scales.Fixed),
    )


def bernoulli(name, event_shape, features=(6,)):
    """A row for `IndependentBernoulli`."""

    def log_prob(distribution, x):
        x, logits = float64(x), float64(distribution.logits)
        # scipy.stats.bernoulli takes p, which rounds to 1; SciPy's log_expit does not.
        terms = x * scipy.special.log_expit(logits) + (1 - x) * scipy.special.log_expit(-logits)
        return terms.sum(axis=tuple(range(-len(event_shape), 0)))

    return Case(
        name=f"bernoulli-{name}-rank{len(event_shape)}",
        make=lambda **kwargs: layers.IndependentBernoulli(event_shape, **kwargs),
        event_shape=event_shape,
        log_prob=log_prob,
        marginal=lambda distribution: scipy.stats.bernoulli(scipy.special.expit(float64(distribution.logits))),
        draw_x=lambda rng, shape: rng.binomial(1, 0.8, shape),
        features=features,
    )


CASES = [
    normal("per_element", (), lambda: None),
    normal("per_element", (3,), scales.PerElement),
    normal("per_element_on_grid", (2, 3, 2), scales.PerElement, features=(2, 3, 4)),
    normal("number", (2, 3), lambda: 0.3),
    normal("fixed", (), lambda: scales.Fixed(2.5)),
    normal("shared", (3,), scales.Shared),
    normal("shared_on_grid", (3, 2, 1), lambda: scales.Shared(initial=0.5, floor=0.01), features=(3, 2, 4)),
    normal("per_dimension", (3,), lambda: scales.PerDimension(initial=0.2)),
    normal("per_dimension_on_grid", (2, 3), scales.PerDimension, features=(2, 3, 4)),
    bernoulli("flat", ()),
    bernoulli("flat", (2, 3)),
    bernoulli("on_grid", (2, 3, 2), features=(2, 3, 4)),
]
