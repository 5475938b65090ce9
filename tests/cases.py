"""A row for every family of distribution layers and every scale: what checks.py needs to know in order to check it.

A new family is a few rows here; every check of checks.py then holds for it, or fails.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.special
import scipy.stats
from referees import ContinuousBernoulli, Levels, ZeroInflated, table_of_levels

from keras_vae import layers, scales
from keras_vae.scales.base import FreeScale


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
        entropy: the distribution to SciPy's entropy, `[B]`; None for a family that has none.
        correlation: the distribution to the correlation of each example's elements, `[B, D, D]`; None if independent.
        is_discrete: whether x is whole numbers, of which the density is a probability.
    """

    name: str
    make: Callable
    event_shape: tuple
    log_prob: Callable
    marginal: Callable
    draw_x: Callable
    features: tuple = (6,)
    learns_sigma: bool = False
    entropy: Callable | None = None
    correlation: Callable | None = None
    is_discrete: bool = False

    def __str__(self):
        return self.name

    @property
    def event_axes(self):
        """The event's axes, counted from the end."""
        return tuple(range(-len(self.event_shape), 0))


def float64(tensor):
    """A tensor, or array, as a float64 array."""
    return np.asarray(tensor).astype("float64")


def elementwise(name, make, event_shape, marginal, draw_x, log_prob=None, has_entropy=True, **kwargs):
    """A row for a family of independent elements: what SciPy says of each, `marginal`, says all."""
    axes = tuple(range(-len(event_shape), 0))

    def summed(distribution, x):
        frozen = marginal(distribution)
        score = frozen.logpmf if kwargs.get("is_discrete") else frozen.logpdf
        return score(float64(x)).sum(axis=axes)

    return Case(
        name=f"{name}-rank{len(event_shape)}",
        make=make,
        event_shape=event_shape,
        log_prob=log_prob or summed,
        marginal=marginal,
        draw_x=draw_x,
        entropy=(lambda distribution: marginal(distribution).entropy().sum(axis=axes)) if has_entropy else None,
        **kwargs,
    )


def location_scale(name, layer, frozen, event_shape, scale, **kwargs):
    """A row for a location-scale layer; `scale` makes a new scale, so that no two layers share one."""

    def marginal(distribution):
        return frozen(*np.broadcast_arrays(float64(distribution.loc), np.exp(float64(distribution.log_scale))))

    return elementwise(
        name,
        lambda **given: layer(event_shape, scale=scale(), **given),
        event_shape,
        kwargs.pop("marginal", marginal),
        lambda rng, shape: rng.normal(0.5, 1.5, shape),
        learns_sigma=isinstance(scales.get(scale()), (FreeScale, scales.PerElement)),
        **kwargs,
    )


def normal(name, event_shape, scale, **kwargs):
    """A row for `IndependentNormal`."""

    def marginal(distribution):
        sigma = np.exp(0.5 * float64(distribution.log_variance))
        return scipy.stats.norm(*np.broadcast_arrays(float64(distribution.loc), sigma))

    return location_scale(
        f"normal-{name}", layers.IndependentNormal, None, event_shape, scale, marginal=marginal, **kwargs
    )


def laplace(name, event_shape, scale, **kwargs):
    """A row for `IndependentLaplace`."""
    return location_scale(
        f"laplace-{name}", layers.IndependentLaplace, scipy.stats.laplace, event_shape, scale, **kwargs
    )


def logistic(name, event_shape, scale, **kwargs):
    """A row for `IndependentLogistic`."""
    return location_scale(
        f"logistic-{name}", layers.IndependentLogistic, scipy.stats.logistic, event_shape, scale, **kwargs
    )


def student_t(name, event_shape, scale, df=None, **kwargs):
    """A row for `IndependentStudentT`."""

    def marginal(distribution):
        parameters = float64(distribution.df), float64(distribution.loc), np.exp(float64(distribution.log_scale))
        return scipy.stats.t(*np.broadcast_arrays(*parameters))

    layer = functools.partial(layers.IndependentStudentT, df=df)
    return location_scale(f"student_t-{name}", layer, None, event_shape, scale, marginal=marginal, **kwargs)


def continuous_bernoulli(name, event_shape, **kwargs):
    """A row for `IndependentContinuousBernoulli`."""
    return elementwise(
        f"continuous_bernoulli-{name}",
        lambda **given: layers.IndependentContinuousBernoulli(event_shape, **given),
        event_shape,
        lambda distribution: ContinuousBernoulli(float64(distribution.logits)),
        lambda rng, shape: rng.uniform(size=shape),
        **kwargs,
    )


def beta(name, event_shape, **kwargs):
    """A row for `IndependentBeta`."""
    return elementwise(
        f"beta-{name}",
        lambda **given: layers.IndependentBeta(event_shape, **given),
        event_shape,
        lambda distribution: scipy.stats.beta(
            float64(distribution.concentration1), float64(distribution.concentration0)
        ),
        lambda rng, shape: rng.beta(6.0, 6.0, size=shape),
        **kwargs,
    )


def counts(name, layer, event_shape, marginal, scale=None, **kwargs):
    """A row for a family of counts; `scale`, where it has one, makes a new scale."""
    return elementwise(
        name,
        lambda **given: layer(event_shape, **(given if scale is None else {"scale": scale(), **given})),
        event_shape,
        marginal,
        lambda rng, shape: rng.negative_binomial(1.0, 0.3, size=shape),
        has_entropy=False,
        is_discrete=True,
        **kwargs,
    )


def negative_binomial_of(distribution):
    """SciPy's negative binomial."""
    mean, shape = np.exp(float64(distribution.log_mean)), np.exp(-2 * float64(distribution.log_scale))
    return scipy.stats.nbinom(*np.broadcast_arrays(shape, shape / (shape + mean)))


def levels_row(name, layer, event_shape, table, levels, **kwargs):
    """A row for a family over levels: `table` gives their probabilities, `[B, *event, levels]`."""
    return elementwise(
        name,
        lambda **given: layer(event_shape, levels=levels, **given),
        event_shape,
        lambda distribution: Levels(table(distribution)),
        lambda rng, shape: rng.integers(0, levels, size=shape),
        has_entropy=False,
        is_discrete=True,
        **kwargs,
    )


def table_of_logistic(distribution):
    """Of `DiscretizedLogistic`."""
    loc, scale = np.broadcast_arrays(float64(distribution.loc), np.exp(float64(distribution.log_scale)))
    return table_of_levels(loc, scale, distribution.levels)


def table_of_mixture(distribution):
    """Of a `DiscretizedLogisticMixture` of one channel."""
    weights = scipy.special.softmax(float64(distribution.logits), axis=-1)
    loc, scale = float64(distribution.loc)[..., 0], np.exp(float64(distribution.log_scale))[..., 0]
    tables = table_of_levels(loc, scale, distribution.levels)  # [..., *pixels, K, levels]
    return (weights[..., np.newaxis] * tables).sum(axis=-2)[..., np.newaxis, :]


def bernoulli(name, event_shape, features=(6,)):
    """A row for `IndependentBernoulli`."""

    def log_prob(distribution, x):
        x, logits = float64(x), float64(distribution.logits)
        # scipy.stats.bernoulli takes p, which rounds to 1; SciPy's log_expit does not.
        terms = x * scipy.special.log_expit(logits) + (1 - x) * scipy.special.log_expit(-logits)
        return terms.sum(axis=tuple(range(-len(event_shape), 0)))

    return elementwise(
        f"bernoulli-{name}",
        lambda **given: layers.IndependentBernoulli(event_shape, **given),
        event_shape,
        lambda distribution: scipy.stats.bernoulli(scipy.special.expit(float64(distribution.logits))),
        lambda rng, shape: rng.binomial(1, 0.8, shape),
        log_prob,
        features=features,
        is_discrete=True,
    )


def multivariate_normal(name, make, event_shape, covariance, **kwargs):
    """A row for a Gaussian whose elements are correlated; `covariance` gives that of the flattened event, `[B, D, D]`,
    from the distribution's own parameters.
    """

    def frozen(distribution):
        means = float64(distribution.loc).reshape(-1, math.prod(event_shape))
        return [scipy.stats.multivariate_normal(*each) for each in zip(means, covariance(distribution), strict=True)]

    def log_prob(distribution, x):
        x = np.broadcast_to(x, (*x.shape[: x.ndim - len(event_shape) - 1], len(distribution.loc), *event_shape))
        flat = float64(x).reshape(*x.shape[: x.ndim - len(event_shape)], -1)
        return np.stack([each.logpdf(flat[..., k, :]) for k, each in enumerate(frozen(distribution))], axis=-1)

    def variance(distribution):
        return np.diagonal(covariance(distribution), axis1=1, axis2=2).reshape(-1, *event_shape)

    def correlation(distribution):
        sigma = np.sqrt(np.diagonal(covariance(distribution), axis1=1, axis2=2))
        return covariance(distribution) / (sigma[:, :, None] * sigma[:, None, :])

    return Case(
        name=name,
        make=make,
        event_shape=event_shape,
        log_prob=log_prob,
        marginal=lambda distribution: scipy.stats.norm(float64(distribution.loc), np.sqrt(variance(distribution))),
        draw_x=lambda rng, shape: rng.normal(0.5, 1.5, shape),
        entropy=lambda distribution: np.array([each.entropy() for each in frozen(distribution)]),
        correlation=correlation,
        **kwargs,
    )


def tril(size, **kwargs):
    """A row for `MultivariateNormalTriL`."""

    def covariance(distribution):
        scale = float64(distribution.scale_tril)
        return scale @ scale.swapaxes(-1, -2)

    return multivariate_normal(
        f"tril-{size}", lambda **given: layers.MultivariateNormalTriL(size, **given), (size,), covariance, **kwargs
    )


def low_rank(name, event_shape, rank, scale, **kwargs):
    """A row for `MultivariateNormalLowRank`."""

    def covariance(distribution):
        factors = float64(distribution.factors).reshape(len(distribution.loc), rank, -1)
        log_scale = np.broadcast_to(float64(distribution.log_scale), distribution.loc.shape)
        variance = np.exp(2 * log_scale).reshape(len(distribution.loc), -1)
        return np.einsum("bri,brj->bij", factors, factors) + np.apply_along_axis(np.diag, 1, variance)

    return multivariate_normal(
        f"low_rank-{name}",
        lambda **given: layers.MultivariateNormalLowRank(event_shape, rank, scale=scale(), **given),
        event_shape,
        covariance,
        **kwargs,
    )


CASES = [
    normal("per_element", (), lambda: None),
    normal("per_element", (3,), scales.PerElement),
    normal("per_element_on_grid", (2, 3, 2), scales.PerElement, features=(2, 3, 4)),
    normal("fixed", (), lambda: 2.5),
    normal("shared", (3,), scales.Shared),
    normal("per_dimension_on_grid", (2, 3), lambda: scales.PerDimension(initial=0.2), features=(2, 3, 4)),
    bernoulli("flat", ()),
    bernoulli("flat", (2, 3)),
    bernoulli("on_grid", (2, 3, 2), features=(2, 3, 4)),
    normal("shared_by_channel", (3, 2, 2), lambda: scales.Shared(initial=0.5, floor=0.01, axis=-1), features=(3, 2, 4)),
    normal("optimal", (3,), scales.Optimal),
    laplace("per_element", (2, 3, 2), scales.PerElement, features=(2, 3, 4)),
    logistic("per_element", (2, 3, 2), scales.PerElement, features=(2, 3, 4)),
    student_t("per_element", (2, 3), scales.PerElement, df=7.0),
    student_t("learned_df", (3,), scales.Shared),
    continuous_bernoulli("on_grid", (2, 3, 2), features=(2, 3, 4)),
    beta("flat", (3,)),
    counts(
        "poisson",
        layers.IndependentPoisson,
        (2, 3),
        lambda distribution: scipy.stats.poisson(np.exp(float64(distribution.log_rate))),
    ),
    counts(
        "negative_binomial",
        layers.IndependentNegativeBinomial,
        (3,),
        negative_binomial_of,
        scale=scales.PerElement,
        learns_sigma=True,
    ),
    counts(
        "zero_inflated",
        layers.ZeroInflatedNegativeBinomial,
        (3,),
        lambda distribution: ZeroInflated(
            negative_binomial_of(distribution), scipy.special.expit(float64(distribution.zero_logits))
        ),
        scale=scales.PerDimension,
    ),
    levels_row(
        "categorical",
        layers.IndependentCategorical,
        (2, 3),
        lambda distribution: scipy.special.softmax(float64(distribution.logits), axis=-1),
        levels=5,
    ),
    levels_row(
        "discretized_logistic",
        layers.DiscretizedLogistic,
        (2, 3, 2),
        table_of_logistic,
        levels=20,
        features=(2, 3, 4),
        learns_sigma=True,
    ),
    levels_row(
        "discretized_logistic_mixture",
        functools.partial(layers.DiscretizedLogisticMixture, components=3),
        (2, 2, 1),
        table_of_mixture,
        levels=20,
    ),
    tril(4),
    low_rank("flat", (5,), 3, scales.Shared),
    low_rank("on_grid", (2, 3, 2), 2, scales.PerElement, features=(2, 3, 4)),
]
