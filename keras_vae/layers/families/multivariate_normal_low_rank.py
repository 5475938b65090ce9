"""The Gaussian whose covariance is a diagonal plus a low rank: factor analysis, given the features."""

import math

import keras
import numpy as np
from keras import ops

from keras_vae import backend
from keras_vae.backend import tfd, tfp
from keras_vae.checks import check_integer
from keras_vae.data.support import Support
from keras_vae.layers.elements import DependentElements
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution, check_same_event
from keras_vae.layers.location_scale import LocationScaleLayer
from keras_vae.ops import gaussian_kl, gaussian_nll
from keras_vae.ops.least_squares import orthogonal, residual
from keras_vae.ops.noise import standard_normal_rows
from keras_vae.ops.triangular import bounded

FIRST_FACTORS = 1e-2  # how large, in units of sigma, factors are that start at data which have shown none

LOG_2PI = math.log(2.0 * math.pi)


class MultivariateNormalLowRankDistribution(tfd.Distribution):
    """A Gaussian with independent noise and a few factors that its elements share, N(mu, diag(sigma^2) + F F').

    With A = F / sigma and u = (x - mu) / sigma, the density is a Gaussian integral over w. It is the integrand's
    maximum over the root of a determinant (Woodbury's identity and the determinant lemma in one):

        log p(x) = max_w log p(x, w) + R/2 log(2 pi) - 1/2 log det(I + A'A)
        log p(x, w) = -1/2 |u - A w|^2 - 1/2 |w|^2 - sum_i log sigma_i - (D + R) / 2 log(2 pi)

    The maximum is a problem of least squares: see `ops.least_squares`.

    Args:
        loc: mu, `[..., *event]`; D is the event's size.
        log_scale: log sigma, broadcastable with `loc`.
        factors: F', `[..., R, *event]`.
        event_ndims: how many trailing axes of `loc` make up one event.
    """

    support = Support("MultivariateNormalLowRank", "real numbers")
    draws_by_row = True  # a row's draw does not depend on how many there are: see `ops.noise`

    def __init__(self, loc, log_scale, factors, event_ndims, name="MultivariateNormalLowRankDistribution"):
        parameters = dict(locals())
        self.loc, self.log_scale, self.factors, self.event_ndims = loc, log_scale, factors, event_ndims
        super().__init__(loc.dtype, tfd.FULLY_REPARAMETERIZED, False, True, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        properties = tfp.util.ParameterProperties
        element = properties(event_ndims=lambda self: self.event_ndims)
        factors = properties(event_ndims=lambda self: self.event_ndims + 1)
        return {"loc": element, "log_scale": element, "factors": factors}

    def _shapes(self):
        """The shapes of the batch and of the event: integers, or scalar tensors where they are known only when run."""
        shape = ops.shape(self.loc)
        batch_ndims = len(shape) - self.event_ndims
        return shape[:batch_ndims], shape[batch_ndims:]

    def _batch_shape(self):
        return self.loc.shape[: len(self.loc.shape) - self.event_ndims]

    def _batch_shape_tensor(self):
        return ops.convert_to_tensor(self._shapes()[0], "int32")

    def _event_shape(self):
        return self.loc.shape[len(self.loc.shape) - self.event_ndims :]

    def _event_shape_tensor(self):
        return ops.convert_to_tensor(self._shapes()[1], "int32")

    def _flat(self, value):
        """Reshapes `[..., *event]` to `[..., D]`, broadcast to the event first."""
        event = self._shapes()[1]
        shape = ops.shape(value)
        batch = shape[: max(0, len(shape) - len(event))]
        return ops.reshape(ops.broadcast_to(value, (*batch, *event)), (*batch, math.prod(event)))

    def _orthogonal(self):
        """The columns of [A; I] made orthogonal, and log det(I + A'A) / 2."""
        precision = self._flat(ops.exp(-self.log_scale))
        return orthogonal(bounded(self._flat(self.factors) * precision[..., None, :]))

    def log_prob_of_elements(self, x):
        raise DependentElements.of(self)

    def _log_prob(self, x):
        directions, half_log_det = self._orthogonal()
        left = residual(directions, self._flat(bounded((x - self.loc) * ops.exp(-self.log_scale))))
        joint = -gaussian_nll(left, 0.0, 0.0) - ops.sum(self._flat(self.log_scale), axis=-1)
        return joint + 0.5 * len(directions) * LOG_2PI - half_log_det

    def _sample_n(self, n, seed=None):
        batch, event = self._shapes()
        seed, rank = tfp.random.sanitize_seed(seed), self.factors.shape[-1 - self.event_ndims]
        e, w = (
            standard_normal_rows(n, batch, shape, backend.fold_in(seed, k), self.dtype.name)
            for k, shape in enumerate([event, [rank]])
        )
        # The draws of an example side by side, as columns: one product of matrices for each example.
        factors = ops.swapaxes(self._flat(self.factors), -1, -2)
        common = ops.moveaxis(ops.matmul(factors, ops.moveaxis(w, 0, -1)), -1, 0)
        return self.loc + ops.exp(self.log_scale) * e + ops.reshape(common, (n, *batch, *event))

    def _mean(self):
        return self.loc

    def _mode(self):
        return self.loc

    def _variance_of_factors(self):
        return ops.sum(ops.square(self.factors), axis=-1 - self.event_ndims)

    def _variance(self):
        return ops.exp(2.0 * self.log_scale) + self._variance_of_factors()

    def _covariance(self):
        factors, variance = self._flat(self.factors), self._flat(ops.exp(2.0 * self.log_scale))
        diagonal = ops.eye(variance.shape[-1], dtype=variance.dtype) * variance[..., None]
        return diagonal + ops.matmul(ops.swapaxes(factors, -1, -2), factors)

    def _entropy(self):
        log_scale = self._flat(self.log_scale)
        return ops.sum(log_scale + 0.5 * (1.0 + LOG_2PI), axis=-1) + self._orthogonal()[1]


@tfd.RegisterKL(MultivariateNormalLowRankDistribution, IndependentNormalDistribution)
def _kl(q, p, name=None):
    check_same_event(q, p)
    # As if there were no factors; the variance that they add, over tau^2; and the volume.
    diagonal = gaussian_kl(q.loc, 2.0 * q.log_scale, p.loc, p.log_variance, event_ndims=q.event_ndims)
    added = ops.sum(q._flat(q._variance_of_factors() * ops.exp(-p.log_variance)), axis=-1)
    return diagonal + 0.5 * added - q._orthogonal()[1]


@keras.saving.register_keras_serializable("keras_vae")
class MultivariateNormalLowRank(LocationScaleLayer):
    """A Gaussian whose elements share a few factors, N(mu, diag(sigma^2) + F F').

        x = mu + F w + sigma e,    w ~ N(0, I_R),    e ~ N(0, I_D)

    It is factor analysis whose every parameter may be a function of the features. For the correlations of images and
    long vectors it takes R numbers an element, where a full covariance takes D / 2. As a likelihood it is noise that
    neighbouring pixels share. As a posterior it has R directions in which the latent is uncertain together. The network
    gives mu and F, linear in the features. The `scale` gives sigma, the standard deviation of an element that the
    factors leave. See `MultivariateNormalLowRankDistribution` for the density. (Monteiro et al., "Stochastic
    segmentation networks", NeurIPS 2020, for images; Ong, Nott & Smith, "Gaussian variational approximation with a
    factor covariance structure", JCGS 27, 2018, for posteriors.)

        likelihood = keras_vae.layers.MultivariateNormalLowRank((8, 8, 1), rank=3)
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Args:
        event_shape, scale, activation, projection: as of `LocationScaleLayer`. With `projection=False` the features are
            the locations, then each factor's column, then (with `PerElement`) log sigma^2 before the scale's floor.
        rank: R, how many factors: a positive integer.

    Returns:
        When called on `[B, *features]`: a reparameterized distribution of batch `[B]` and event `event_shape`, whose KL
        from the standard normal prior is exact.

    Raises:
        ValueError: `rank` is not a positive integer; `scale` is `Optimal()`, which is known for independent elements
            only; or as `LocationScaleLayer`.
    """

    def __init__(self, event_shape, rank, scale=None, activation=None, projection=True, **kwargs):
        super().__init__(event_shape, scale=scale, activation=activation, projection=projection, **kwargs)
        self.rank = check_integer("MultivariateNormalLowRank", "rank", rank)
        self.extra_parameters_per_element = self.rank

    def location_of(self, moments, sigma):
        # Small, in units of sigma, and no two alike: at 0 all slopes of the factors are 0.
        shape = np.broadcast_shapes(moments.mean.shape, sigma.shape)
        directions = np.random.default_rng(0).normal(size=(self.rank, *shape))
        columns = FIRST_FACTORS * sigma * directions
        return [moments.mean, *(np.broadcast_to(each, moments.mean.shape) for each in columns)]

    def with_scale(self, location, *others):
        *columns, log_scale = others
        factors = ops.stack(columns, axis=1)
        return MultivariateNormalLowRankDistribution(location, log_scale, factors, event_ndims=len(self.event_shape))

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}
