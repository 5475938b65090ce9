"""The Gaussian with independent coordinates: a VAE's usual posterior, and the decoder of real-valued data."""

import math

import keras
from keras import ops

from keras_vae import backend, scales
from keras_vae.backend import tfd, tfp
from keras_vae.layers.base import DistributionLayer
from keras_vae.ops import gaussian_kl, gaussian_nll
from keras_vae.ops.noise import standard_normal


class FusedNormal(tfd.Independent):
    """`tfd.Independent(tfd.Normal(...))`, given by its log-variance, whose `log_prob` and KL are the fused ops.

    Args:
        loc: mu, `[..., *event]`.
        log_variance: log sigma^2, broadcastable with `loc`.
        event_ndims: how many trailing axes make up one event.
    """

    draws_by_row = True  # a row's draw does not depend on how many there are: see `ops.noise`

    def __init__(self, loc, log_variance, event_ndims, name="FusedNormal"):
        parameters = dict(locals())
        self._loc, self._log_variance, self._event_ndims = loc, log_variance, event_ndims
        super().__init__(tfd.Normal(loc, ops.exp(0.5 * log_variance)), reinterpreted_batch_ndims=event_ndims, name=name)
        self._parameters = self._no_dependency(parameters)

    @property
    def loc(self):
        """mu, `[..., *event]`."""
        return self._loc

    @property
    def log_variance(self):
        """log sigma^2, broadcastable with `loc`."""
        return self._log_variance

    @property
    def event_ndims(self):
        """How many trailing axes make up one event."""
        return self._event_ndims

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        properties = tfp.util.ParameterProperties
        ndims = {"event_ndims": lambda self: self.event_ndims}
        return {"loc": properties(**ndims), "log_variance": properties(**ndims)}

    def _log_prob(self, x):
        return -gaussian_nll(x, self.loc, self.log_variance, event_ndims=self.event_ndims)

    def _sample_n(self, n, seed=None):
        shape = ops.shape(self.loc + self.log_variance)
        batch, event = shape[: len(shape) - self.event_ndims], shape[len(shape) - self.event_ndims :]
        # A row is an example, or a draw where there is no batch.
        rows = [n, math.prod(batch), *event] if batch else [n, *event]
        row_axis, first_row = (1, backend.first_row()) if batch else (0, 0)
        seed = tfp.random.sanitize_seed(seed)
        noise = standard_normal(rows, seed, row_axis, first_row, dtype=self.dtype.name)
        return self.loc + ops.exp(0.5 * self.log_variance) * ops.reshape(noise, [n, *shape])

    @staticmethod
    def support(dtype):
        """The least and the largest value that data of a dtype may hold: bytes are an image that was not scaled."""
        return (0.0, 1.0) if dtype == "uint8" else (-math.inf, math.inf)

    @staticmethod
    def support_error(low, high):
        """What is wrong with data from `low` to `high`, in words."""
        return (
            f"IndependentNormal scores real numbers; received uint8 values from {low} to {high}, as of an unscaled "
            "image. Rescale it: x.astype('float32') / 255."
        )


@tfd.RegisterKL(FusedNormal, FusedNormal)
def _kl(q, p, name=None):
    if q.event_ndims != p.event_ndims or not q.event_shape.is_compatible_with(p.event_shape):
        raise ValueError(
            f"Expected the same event shape on both sides of a KL; received: {q.event_shape}, {p.event_shape}"
        )
    return gaussian_kl(q.loc, q.log_variance, p.loc, p.log_variance, event_ndims=q.event_ndims)


@tfd.RegisterKL(tfd.MultivariateNormalLinearOperator, FusedNormal)
def _kl_of_multivariate(q, p, name=None):
    # Of TFP's own multivariate normals, full or diagonal: by TFP's closed form, which knows them only among each other.
    return q.kl_divergence(tfd.MultivariateNormalDiag(p.mean(), p.stddev()))


@keras.saving.register_keras_serializable("keras_vae")
class IndependentNormal(DistributionLayer):
    """A Gaussian with independent coordinates, N(mu, diag(sigma^2)).

        log p(x) = -1/2 sum_i [ log(2 pi) + log sigma_i^2 + (x_i - mu_i)^2 / sigma_i^2 ]

    The diagonal posterior of an encoder and the likelihood of real-valued data: equation 9 and appendix C.2 of Kingma &
    Welling, "Auto-Encoding Variational Bayes" (arXiv 1312.6114). mu is linear in the features; sigma is the `scale`'s.

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        scale: where sigma comes from: a `keras_vae.scales` object, or a number for a sigma that is known and fixed.
            Default `PerElement()`, a function of the features.
        projection: False to take the features as the parameters: mu, then (with `PerElement`) log sigma^2 before the
            scale's floor. See `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers; `scale` is no scale, or not positive.
    """

    def __init__(self, event_shape, scale=None, projection=True, **kwargs):
        super().__init__(event_shape, projection=projection, **kwargs)
        self.scale = scales.get(scale, dtype=self.dtype_policy)
        self.maps = 1 + self.scale.maps

    def build(self, input_shape):
        self.scale.build_for(self.event_shape)
        super().build(input_shape)

    def distribution(self, mean, *features):
        log_variance = ops.convert_to_tensor(self.scale.log_variance(*features), dtype=mean.dtype)
        return FusedNormal(mean, log_variance, event_ndims=len(self.event_shape))

    def get_config(self):
        return {**super().get_config(), "scale": keras.saving.serialize_keras_object(self.scale)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "scale": keras.saving.deserialize_keras_object(config["scale"])})
