"""The Gaussian of full covariance: a posterior, or a likelihood, whose elements are correlated."""

import keras
import numpy as np
from keras import ops

from keras_vae import scales
from keras_vae.backend import tfd, tfp
from keras_vae.data.support import Support
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.delegate import Delegate
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution, check_same_event
from keras_vae.ops import gaussian_kl, gaussian_nll
from keras_vae.ops.noise import standard_normal_rows
from keras_vae.ops.triangular import bounded, lower_part, solve_lower
from keras_vae.scales.base import check_sigma


class MultivariateNormalTriLDistribution(Delegate):
    """A `tfd.MultivariateNormalTriL` whose `log_prob` stays finite, and whose draws go by row.

    Args:
        loc: mu, `[..., D]`.
        scale_tril: L, `[..., D, D]`, lower triangular with a positive diagonal; the covariance is L L'.
    """

    support = Support("MultivariateNormalTriL", "real numbers")
    draws_by_row = True  # a row's draw does not depend on how many there are: see `ops.noise`

    def __init__(self, loc, scale_tril, name="MultivariateNormalTriLDistribution"):
        parameters = dict(locals())
        self.loc, self.scale_tril = loc, scale_tril
        super().__init__(tfd.MultivariateNormalTriL(loc, scale_tril), parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        properties = tfp.util.ParameterProperties
        return {"loc": properties(event_ndims=1), "scale_tril": properties(event_ndims=2)}

    @property
    def log_variance(self):
        """log L_ii^2, `[..., D]`: the log-variances of the elements, each given those before it."""
        return 2.0 * ops.log(ops.diagonal(self.scale_tril, axis1=-2, axis2=-1))

    def _log_prob(self, x):
        white = solve_lower(self.scale_tril, bounded(x - self.loc))
        return -gaussian_nll(white, 0.0, 0.0) - 0.5 * ops.sum(self.log_variance, axis=-1)

    def _sample_n(self, n, seed=None):
        batch, event = ops.shape(self.loc)[:-1], ops.shape(self.loc)[-1:]
        noise = standard_normal_rows(n, batch, event, tfp.random.sanitize_seed(seed), self.dtype.name)
        # The draws of an example side by side, as columns: one product of matrices for each example.
        return self.loc + ops.moveaxis(ops.matmul(self.scale_tril, ops.moveaxis(noise, 0, -1)), -1, 0)

    def _variance(self):
        return ops.sum(ops.square(self.scale_tril), axis=-1)

    def _stddev(self):
        return ops.sqrt(self._variance())

    def _covariance(self):
        return self.distribution.covariance()


@tfd.RegisterKL(MultivariateNormalTriLDistribution, IndependentNormalDistribution)
def _kl(q, p, name=None):
    check_same_event(q, p)
    # As if L were diagonal, and what stands below the diagonal: 1/2 sum_ij L_ij^2 / tau_i^2 more.
    diagonal = gaussian_kl(q.loc, q.log_variance, p.loc, p.log_variance)
    below = ops.sum(ops.square(lower_part(q.scale_tril, -1)), axis=-1) * ops.exp(-p.log_variance)
    return diagonal + 0.5 * ops.sum(below, axis=-1)


@tfd.RegisterKL(MultivariateNormalTriLDistribution, MultivariateNormalTriLDistribution)
def _kl_of_full(q, p, name=None):
    return q.distribution.kl_divergence(p.distribution)


@tfd.RegisterKL(MultivariateNormalTriLDistribution, tfd.MultivariateNormalLinearOperator)
def _kl_from_tfps(q, p, name=None):
    return q.distribution.kl_divergence(p)


@tfd.RegisterKL(IndependentNormalDistribution, MultivariateNormalTriLDistribution)
def _kl_of_independent(q, p, name=None):
    return tfd.MultivariateNormalDiag(q.mean(), q.stddev()).kl_divergence(p.distribution)


@keras.saving.register_keras_serializable("keras_vae")
class MultivariateNormalTriL(DistributionLayer):
    """A Gaussian of full covariance, N(mu, L L'), by its Cholesky factor L, a lower triangle.

        log p(x) = -1/2 sum_i [ log(2 pi) + log L_ii^2 + y_i^2 ],    L y = x - mu
        x = mu + L e,    e ~ N(0, I)

    It is the full-covariance posterior of section 2.5.1 of Kingma & Welling, "An Introduction to Variational
    Autoencoders" (arXiv 1906.02691, algorithm 2), and a likelihood of correlated real numbers. As there, the entries
    below L's diagonal are linear in the features. On the diagonal, L_ii^2 = exp(raw) + floor^2. L_ii is the standard
    deviation of x_i that x_1, ..., x_{i-1} leave. (The entries of a row of L are not measured in its L_ii. They would
    have to grow as that shrinks, just where the elements before nearly determine x_i, which is what a covariance is
    for.)

        encoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.MultivariateNormalTriL(4)])
        encoder(x).covariance()  # [64, 4, 4]

    Args:
        event_shape: D, the size of one draw, a vector: an integer, or a tuple of one.
        floor: the smallest L_ii, approached smoothly.
        projection: False to take the features as the parameters, `[B, D + D (D + 1) / 2]`: the means, then the lower
            triangle as `tfp.math.fill_triangular` reads it, with raw log-variances on its diagonal.

    Returns:
        When called on `[B, *features]`: a reparameterized distribution of batch `[B]` and event `[D]`, whose KL from
        the standard normal prior is exact. `.distribution` is the same as a `tfd.MultivariateNormalTriL`.

    Raises:
        ValueError: `event_shape` is not one positive integer; `floor` is not positive.
    """

    def __init__(self, event_shape, floor=1e-3, projection=True, **kwargs):
        super().__init__(event_shape, projection=projection, **kwargs)
        if len(self.event_shape) != 1:
            raise ValueError(
                "MultivariateNormalTriL: expected `event_shape` to be one positive integer, the size of a vector; "
                f"received: {event_shape!r}. MultivariateNormalLowRank takes events of any shape."
            )
        self.floor = check_sigma("MultivariateNormalTriL", "floor", floor)
        self.scale = scales.PerElement(floor=floor, dtype=self.dtype_policy)

    def units(self):
        (size,) = self.event_shape
        return size + size * (size + 1) // 2

    def units_on_grid(self, channels):
        return None  # every element has to do with every other

    def parameters(self, features):
        """The means `[B, D]`, and L with raw log-variances on its diagonal, `[B, D, D]`."""
        loc, triangle = ops.split(features, [self.event_shape[0]], axis=-1)
        return loc, tfp.math.fill_triangular(triangle)

    def features_of(self, parameters):
        loc, raw = parameters
        return np.concatenate([loc, np.asarray(tfp.math.fill_triangular_inverse(raw))])

    def marginal(self, moments):
        _, (raw,) = self.scale.start_at(moments.stddev, moments.count)
        return [moments.mean, np.diag(raw)]

    def distribution(self, loc, raw):
        log_sigma = self.scale.log_scale(ops.diagonal(raw, axis1=-2, axis2=-1))
        on_diagonal = ops.eye(self.event_shape[0], dtype="bool")
        return MultivariateNormalTriLDistribution(
            loc, ops.where(on_diagonal, ops.exp(log_sigma)[..., None], lower_part(raw, -1))
        )

    def build(self, input_shape):
        self.scale.build_for(self.event_shape)
        super().build(input_shape)

    def get_config(self):
        return {**super().get_config(), "floor": self.floor}
