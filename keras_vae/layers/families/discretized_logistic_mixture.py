"""Mixtures of discretised logistics over the channels of a pixel: PixelCNN++'s likelihood of 8-bit colour images."""

import math

import keras
import numpy as np
from keras import ops

from keras_vae import scales
from keras_vae.backend import tfd, tfp
from keras_vae.checks import check_integer
from keras_vae.data.support import levels_from_zero
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.elements import DependentElements
from keras_vae.layers.families.discretized_logistic import default_floor, mean_and_variance, spread_of_levels
from keras_vae.ops import discretized_logistic_nll
from keras_vae.scales.base import check_sigma


class DiscretizedLogisticMixtureDistribution(tfd.Distribution):
    """Independent pixels, each a mixture over components in which a channel shifts the later ones' locations.

    Args:
        logits: of the components, `[..., *pixels, K]`.
        loc: mu, where the levels run from 0 to 1, `[..., *pixels, K, C]`.
        log_scale: log s, `[..., *pixels, K, C]`.
        coefficients: how much each earlier channel shifts each later one, `[..., *pixels, K, C (C - 1) / 2]`, in the
            order (1, 0), (2, 0), (2, 1), ...
        levels: how many there are.
        event_ndims: how many trailing axes make up one event, the channels among them.
    """

    def __init__(self, logits, loc, log_scale, coefficients, levels, event_ndims, name="DiscretizedLogisticMixture"):
        parameters = dict(locals())
        self.logits, self.loc, self.log_scale, self.coefficients = logits, loc, log_scale, coefficients
        self.levels, self.event_ndims = levels, event_ndims
        super().__init__(
            dtype=loc.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        properties = tfp.util.ParameterProperties
        of_pixels = properties(event_ndims=lambda self: self.event_ndims)
        of_channels = properties(event_ndims=lambda self: self.event_ndims + 1)
        return {"logits": of_pixels, "loc": of_channels, "log_scale": of_channels, "coefficients": of_channels}

    @property
    def support(self):
        """The `Support`, the values that are scored: whole numbers 0, ..., levels - 1."""
        return levels_from_zero("DiscretizedLogisticMixture", self.levels)

    def _shape(self):
        """The shape of one draw, `[..., *pixels, C]`."""
        shape = ops.shape(self.loc)
        return (*shape[:-2], shape[-1])

    def _batch_shape(self):
        return self.logits.shape[: -self.event_ndims]

    def _batch_shape_tensor(self):
        shape = self._shape()[: -self.event_ndims]
        return ops.stack([ops.cast(size, "int32") for size in shape]) if shape else ops.zeros(0, "int32")

    def _event_shape(self):
        return [*self.logits.shape[-self.event_ndims : -1], self.loc.shape[-1]]

    def _event_shape_tensor(self):
        return ops.convert_to_tensor(self._shape()[-self.event_ndims :], "int32")

    def _shifted(self, channel, earlier):
        """A channel's location, `[..., K]`, given the earlier channels, each `[..., K]` or `[..., 1]`, from 0 to 1."""
        first = channel * (channel - 1) // 2
        coefficients = [self.coefficients[..., first + index] for index in range(channel)]
        shifts = (a * (value - 0.5) for a, value in zip(coefficients, earlier, strict=True))
        return sum(shifts, start=self.loc[..., channel])

    def log_prob_of_elements(self, x):
        raise DependentElements.of(self, "pixels are independent, and not the channels of one")

    def _log_prob(self, x):
        x = ops.expand_dims(x, -2)  # [..., *pixels, 1, C], beside the components
        log_prob, earlier = ops.log_softmax(self.logits), []
        for channel in range(self.loc.shape[-1]):
            level, loc = x[..., channel], self._shifted(channel, earlier)
            log_prob = log_prob - discretized_logistic_nll(
                level, loc, self.log_scale[..., channel], self.levels, event_ndims=0
            )
            earlier.append(level / (self.levels - 1))
        return ops.sum(ops.logsumexp(log_prob, axis=-1), axis=tuple(range(1 - self.event_ndims, 0)))

    def _sample_n(self, n, seed=None):
        component_seed, noise_seed = tfp.random.split_seed(seed, n=2)
        component = tfd.OneHotCategorical(logits=self.logits, dtype=self.dtype).sample(n, seed=component_seed)
        zeros = ops.zeros_like(self.loc[..., 0, :])  # [..., *pixels, C]
        noise = tfd.Logistic(zeros, 1.0).sample(n, seed=noise_seed)

        def of_component(value):
            return ops.sum(component * value, axis=-1)

        drawn = []
        for channel in range(self.loc.shape[-1]):
            loc = of_component(self._shifted(channel, [ops.expand_dims(value, -1) for value in drawn]))
            scale = of_component(ops.exp(self.log_scale[..., channel]))
            grey = loc + scale * noise[..., channel]
            drawn.append(ops.clip(ops.round(grey * (self.levels - 1)), 0.0, self.levels - 1.0) / (self.levels - 1))
        return ops.round(ops.stack(drawn, axis=-1) * (self.levels - 1))

    def _moments(self):
        """Mean and variance of each channel in each component, `[..., *pixels, K, C]`, given the earlier means."""
        means, variances = [], []
        for channel in range(self.loc.shape[-1]):
            loc = self._shifted(channel, [mean / (self.levels - 1) for mean in means])
            mean, variance = mean_and_variance(loc, self.log_scale[..., channel], self.levels)
            means.append(mean)
            variances.append(variance)
        return ops.stack(means, axis=-1), ops.stack(variances, axis=-1)

    def _mean(self):
        # Of a later channel given the earlier ones' means: its own is a sum over all that these may be.
        return ops.sum(ops.softmax(self.logits)[..., None] * self._moments()[0], axis=-2)

    def _variance(self):
        if self.loc.shape[-1] > 1:
            raise NotImplementedError("The variance of a channel that others shift has no closed form")
        probabilities = ops.softmax(self.logits)[..., None]
        means, variances = self._moments()
        mean = ops.sum(probabilities * means, axis=-2, keepdims=True)
        return ops.sum(probabilities * (variances + ops.square(means - mean)), axis=-2)


@keras.saving.register_keras_serializable("keras_vae")
class DiscretizedLogisticMixture(DistributionLayer):
    """A mixture of discretised logistics for each pixel: the likelihood of PixelCNN++, for 8-bit images.

        p(x) = prod_pixels sum_k pi_k prod_c P(x_c; mu_kc(x_<c), s_kc),
        mu_kc(x_<c) = mu_kc + sum_{j < c} a_kcj (x_j / (levels - 1) - 1/2)

    P is the probability of `DiscretizedLogistic`. A pixel may have several modes, and its channels go together.
    (Salimans et al., "PixelCNN++", arXiv 1701.05517, sections 2.1 and 2.2.) The location mu is (1 + feature) / 2, so
    that a network starts at mid-grey. The shift a is tanh(feature). The last axis of the event is the channels, and x
    is whole numbers 0, ..., levels - 1.

    `mean()` is exact for the first channel. For a later channel it is the mean given the earlier channels' means. That
    is exact where no draw meets the range's ends, and off by a few levels where many do. Draws and log p have no such
    error.

        likelihood = keras_vae.layers.DiscretizedLogisticMixture((8, 8, 3), components=5)
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])
        decoder(np.zeros((2, 4))).sample(seed=0)  # [2, 8, 8, 3], whole numbers from 0 to 255

    Args:
        event_shape: shape of one draw, the channels last: integers.
        components: K, how many logistics a pixel mixes, a positive integer.
        levels: how many levels there are, an integer >= 2.
        floor: the smallest s, approached smoothly, in units in which the levels run from 0 to 1. Default: a tenth of a
            level.
        projection: False to take the features as the parameters, pixel after pixel: of each, the K logits, K C
            locations, K C log s^2 before the floor, and K C (C - 1) / 2 of a before the tanh. See `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Distribution` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` is not one or more positive integers; `components`, `levels` or `floor` is not.
    """

    def __init__(self, event_shape, components=5, levels=256, floor=None, projection=True, **kwargs):
        super().__init__(event_shape, projection=projection, **kwargs)
        if not self.event_shape:
            raise ValueError(
                "DiscretizedLogisticMixture: expected an event shape with channels as its last axis, such as "
                f"(28, 28, 1); received: {event_shape!r}"
            )
        self.components = check_integer("DiscretizedLogisticMixture", "components", components)
        self.levels = check_integer("DiscretizedLogisticMixture", "levels", levels, least=2)
        floor = default_floor(self.levels) if floor is None else floor
        self.floor = check_sigma("DiscretizedLogisticMixture", "floor", floor)
        self.scale = scales.PerElement(floor=self.floor, dtype=self.dtype_policy)
        channels = self.event_shape[-1]
        self.sizes = [1, channels, channels, channels * (channels - 1) // 2]  # of a component's parameters

    def units(self):
        return self.components * sum(self.sizes) * math.prod(self.event_shape[:-1])

    def units_on_grid(self, channels):
        return self.components * sum(self.sizes) if channels == self.event_shape[-1] else None

    def parameters(self, features):
        pixels = ops.reshape(features, (-1, *self.event_shape[:-1], self.components * sum(self.sizes)))
        parts, first = [], 0
        for size in self.sizes:
            part = pixels[..., first : first + self.components * size]
            parts.append(ops.reshape(part, (*ops.shape(part)[:-1], self.components, size)))
            first += self.components * size
        return parts

    def features_of(self, parameters):
        parts = [np.reshape(each, (*each.shape[:-2], -1)) for each in parameters]  # a pixel's, one after another
        return np.reshape(np.concatenate(parts, axis=-1), -1)

    def marginal(self, moments):
        # Components side by side, half of the variance between them: alike, they would stay alike.
        places = np.linspace(-1.0, 1.0, self.components)[:, None] if self.components > 1 else np.zeros((1, 1))
        between = 0.5 * moments.variance[..., None, :]
        places = places * np.sqrt(between / max(np.mean(np.square(places)), 1e-9))
        location = (moments.mean[..., None, :] + places) / (self.levels - 1)
        within = moments.variance[..., None, :] - (between if self.components > 1 else 0.0)
        sigma = np.broadcast_to(spread_of_levels(within, self.levels), location.shape)
        pixels = location.shape[:-1]
        logits, coefficients = np.zeros((*pixels, self.sizes[0])), np.zeros((*pixels, self.sizes[-1]))
        return [logits, 2.0 * location - 1.0, self.scale.raw_of(sigma), coefficients]

    def distribution(self, logits, location, scale_features, raw_coefficients):
        return DiscretizedLogisticMixtureDistribution(
            logits[..., 0],
            0.5 + 0.5 * location,  # from the range -1 to 1, whose middle is where a network starts, to 0 to 1
            self.scale.log_scale(scale_features),
            ops.tanh(raw_coefficients),
            self.levels,
            event_ndims=len(self.event_shape),
        )

    def get_config(self):
        arguments = {"components": self.components, "levels": self.levels, "floor": self.floor}
        return {**super().get_config(), **arguments}
