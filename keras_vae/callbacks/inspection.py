"""What a VAE makes of a few fixed examples: latents, a gradient, what pictures show. Nothing of the VAE is changed."""

import contextlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_vae import backend
from keras_vae.evaluation import activity, mutual_information, unit_kl
from keras_vae.layers.wrapped import Wrapped
from keras_vae.objectives.base import weight_at

# Of what grows with the square of the examples, and of what costs a training step.
MOST_PAIRS, MOST_GRADIENTS = 512, 128
DRAWS = 1000  # for moments that have no closed form
SEED = (0, 0)  # the same noise each time, so that what changes is the model


class Latents(NamedTuple):
    """What q(z|x) is for N examples; arrays.

    Attributes:
        mean, stddev: of q(z|x), `[N, *latent]`.
        draw: one of each, `[N, *latent]`, and so N draws of the aggregate posterior.
        prior_draw: N draws of the prior.
        prior_mean, prior_stddev: `[*latent]`.
        kl: nats, of each unit, `[N, *latent]`: see `keras_vae.evaluation.unit_kl`.
        activity: `[*latent]`: see `keras_vae.evaluation.activity`.
        mutual_information: nats.
    """

    mean: np.ndarray
    stddev: np.ndarray
    draw: np.ndarray
    prior_draw: np.ndarray
    prior_mean: np.ndarray
    prior_stddev: np.ndarray
    kl: np.ndarray
    activity: np.ndarray
    mutual_information: np.ndarray


class Inspector:
    """Looks at a built VAE through fixed examples, by programs that are traced once and draw fixed noise.

    Args:
        owner: the callback, of the error message.
        vae: a built `VAE`.
        x: the examples, as the encoder takes them, `[N, ...]`.

    Raises:
        ValueError: the encoder does not take them.
    """

    def __init__(self, owner, vae, x):
        self.vae = vae
        self.x = keras.tree.map_structure(tf.convert_to_tensor, x)
        spec = tf.TensorSpec((None, *vae.prior.latent_shape), vae.dtype_scored)
        self._look = tf.function(self._latents, autograph=False)
        self._norm = tf.function(self._gradient_norm, autograph=False)
        self._points = tf.function(self._point_estimates, autograph=False, input_signature=[spec])
        self._scales = tf.function(self._sigmas, autograph=False, input_signature=[spec])
        self._spreads = tf.function(self._standard_deviations, autograph=False, input_signature=[spec])
        try:
            self.latents()  # now, rather than after an epoch
        except Exception as error:
            shapes = [tuple(part.shape) for part in keras.tree.flatten(x)]
            raise ValueError(
                f"{owner}: expected `examples` that the encoder takes; received shapes {shapes}: {error}"
            ) from error

    def latents(self):
        """`Latents` of the examples."""
        with backend.uncompiled():
            return Latents(*(np.asarray(each) for each in self._look()))

    def gradient_norm(self):
        """The norm of the whole gradient of the loss on the examples, as weighted now, without dropout and the like."""
        with backend.uncompiled():
            return float(self._norm(tf.constant(int(ops.convert_to_numpy(self.vae.iteration)), tf.int64)))

    def decode(self, z):
        """Point estimates of x at z `[N, *latent]`, as NumPy."""
        return self._of_decoder(self._points, z)

    def stddevs(self, z):
        """Standard deviations of p(x|z), as NumPy, by x's parts: "" where it has none. Left out are those without."""
        return self._of_decoder(self._spreads, z)

    def sigmas(self, z):
        """The scales of p(x|z), `[N, *event]`, as NumPy, by x's parts: of densities with a location and a scale."""
        return self._of_decoder(self._scales, z)

    def _of_decoder(self, function, z):
        with backend.uncompiled():
            return keras.tree.map_structure(np.asarray, function(tf.convert_to_tensor(z, self.vae.dtype_scored)))

    def _latents(self):
        vae, seed = self.vae, tf.constant(SEED)
        posterior, prior = vae.encode(self.x, training=False), vae.prior()
        draw = posterior.sample(seed=seed)
        mean, stddev = moments(posterior)
        prior_mean, prior_stddev = moments(prior)
        first = vae.encode(self._first(MOST_PAIRS), training=False)
        return (
            mean,
            stddev,
            draw,
            prior.sample(ops.shape(draw)[0], seed=backend.fold_in(seed, 1)),
            prior_mean,
            prior_stddev,
            unit_kl(mean, stddev, prior_mean, prior_stddev),
            activity(mean),
            mutual_information(first, draw[:MOST_PAIRS]),
        )

    def _gradient_norm(self, step):
        vae = self.vae
        variables = vae.trainable_variables
        values = [tf.convert_to_tensor(variable.value) for variable in variables]
        # By values in place of variables, which other devices may have, too.
        with tf.GradientTape() as tape, keras.StatelessScope(list(zip(variables, values, strict=True))):
            tape.watch(values)
            terms = vae.objective(vae.forward_pass(self._first(MOST_GRADIENTS), tf.constant(SEED), training=False))
            weights = {name: ops.cast(weight_at(vae.objective.weights[name], step), "float32") for name in terms}
            loss = sum(weights[name] * ops.cast(ops.mean(value), "float32") for name, value in terms.items())
        gradients = tape.gradient(loss, values)
        return tf.linalg.global_norm([ops.cast(each, "float32") for each in gradients if each is not None])

    def _point_estimates(self, z):
        return self.vae.point_estimate(self.vae.decode(z, training=False))

    def _standard_deviations(self, z):
        likelihood = self.vae.decode(z, training=False)
        found = {}
        for name, part in parts_of(likelihood).items():
            with contextlib.suppress(NotImplementedError):
                found[name] = part.stddev()
        return found

    def _sigmas(self, z):
        found = {}
        for name, part in parts_of(self.vae.decode(z, training=False)).items():
            part = part.distribution if isinstance(part, Wrapped) else part
            if not hasattr(part, "loc") or getattr(getattr(part, "support", None), "is_integer", False):
                continue
            if hasattr(part, "log_variance"):
                found[name] = ops.exp(0.5 * part.log_variance) + ops.zeros_like(part.loc)
            elif hasattr(part, "log_scale"):
                found[name] = ops.exp(part.log_scale) + ops.zeros_like(part.loc)
        return found

    def _first(self, num):
        return keras.tree.map_structure(lambda part: part[:num], self.x)


def parts_of(likelihood):
    """The parts of a `Joint`'s distribution, by name; what has none is one itself, without a name."""
    return getattr(likelihood, "parts", None) or {"": likelihood}


def moments(distribution):
    """Mean and standard deviation, of many draws where there is no closed form."""
    try:
        return distribution.mean(), distribution.stddev()
    except NotImplementedError:
        draws = distribution.sample(DRAWS, seed=tf.constant(SEED))
        return ops.mean(draws, axis=0), ops.std(draws, axis=0)
