"""What a VAE makes of a few fixed examples: latents, a gradient, what pictures show. Nothing of the VAE is changed."""

import contextlib
import dataclasses
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_vae import backend
from keras_vae.estimates import centre, point_estimate
from keras_vae.evaluation import activity, mutual_information
from keras_vae.evaluation.kl_of_units import kl_of_units
from keras_vae.layers.delegate import Delegate
from keras_vae.objectives.values import weights_at

# At once: of bytes of x, of numbers in what grows with the square of the examples, of what costs a training step.
MOST_BYTES, MOST_NUMBERS, MOST_GRADIENTS = 2**24, 2**22, 128
DRAWS = 1000  # of the prior, and for moments that have no closed form
SEED = (0, 0)  # the same noise each time, so that what changes is the model


class Latents(NamedTuple):
    """What q(z|x) is for N examples; arrays.

    Attributes:
        centre: of q(z|x), `[N, *latent]`, at which x is reconstructed: see `keras_vae.estimates`.
        mean, stddev: of q(z|x), `[N, *latent]`, by many draws where they have no closed form.
        draw: one of each, `[N, *latent]`, and so N draws of the aggregate posterior.
        prior_draw: draws of the prior, `[1000, *latent]`.
        prior_mean, prior_stddev: `[*latent]`.
        kl: KL(q(u|x) || p(u)) of each unit u on its own, nats, `[N, *latent]`; None where it is not known: see
            `keras_vae.evaluation.kl_of_units`.
        kl_by: how it was found, in words, or None.
        activity: `[*latent]`: see `keras_vae.evaluation.activity`.
    """

    centre: np.ndarray
    mean: np.ndarray
    stddev: np.ndarray
    draw: np.ndarray
    prior_draw: np.ndarray
    prior_mean: np.ndarray
    prior_stddev: np.ndarray
    kl: np.ndarray | None
    kl_by: str | None
    activity: np.ndarray


class Inspector:
    """Looks at a built VAE through fixed examples, and leaves it as it was.

    Its programs are traced once and draw the same noise each time. What layers count or draw meanwhile is not kept. A
    few MB of x pass through the networks at once.

    Args:
        vae: a built `VAE`.
        x: the examples, as the encoder takes them, `[N, ...]`.
    """

    def __init__(self, vae, x):
        self.vae = vae
        self.x = keras.tree.map_structure(np.asarray, x)
        self.size = len(keras.tree.flatten(self.x)[0])
        self.at_once = max(1, MOST_BYTES // max(1, sum(part[:1].nbytes for part in keras.tree.flatten(self.x))))
        self._kl_by = None  # known once the encoder's program is traced
        self._encode = self._program(self._encoded)
        self._prior = self._program(self._of_prior)
        self._information = self._program(self._mutual_information)
        self._norm = self._program(self._gradient_norm)
        spec = tf.TensorSpec((None, *vae.prior.latent_shape), vae.dtype_scored)
        self._points = self._program(self._point_estimates, [spec])
        self._scales = self._program(self._sigmas, [spec])
        self._spreads = self._program(self._standard_deviations, [spec])

    def latents(self):
        """`Latents` of the examples."""
        starts = range(0, self.size, self.at_once)
        parts = [self._encode(self._rows(start, self.at_once), tf.constant(start)) for start in starts]
        middle, mean, stddev, draw, *kl = (np.concatenate(each) for each in zip(*parts, strict=True))
        kl = kl[0] if kl else None
        of_prior = self._prior()
        active = ops.convert_to_numpy(activity(mean))
        return Latents(middle, mean, stddev, draw, *of_prior, kl, self._kl_by, active)

    def mutual_information(self):
        """An estimate of I(x; z), nats, by as many of the examples as have room: see `keras_vae.evaluation`."""
        size = math.isqrt(MOST_NUMBERS // max(1, math.prod(self.vae.prior.latent_shape)))
        return float(self._information(self._rows(0, max(2, min(size, self.at_once)))))

    def gradient_norm(self):
        """The norm of the whole gradient of the objective on the examples, as weighted now, without dropout and the
        like, and without regularizers."""
        step = tf.constant(int(ops.convert_to_numpy(self.vae.iteration)), tf.int64)
        return float(self._norm(self._rows(0, min(MOST_GRADIENTS, self.at_once)), step))

    def decode(self, z):
        """Point estimates of x at z `[N, *latent]`, as NumPy."""
        return self._of_decoder(self._points, z)

    def stddevs(self, z):
        """Standard deviations of p(x|z), as NumPy, by x's parts: "" where it has none. Left out are those without."""
        return self._of_decoder(self._spreads, z)

    def sigmas(self, z):
        """The scales of p(x|z), `[N, *event]`, as NumPy, by x's parts: of densities with a location and a scale."""
        return self._of_decoder(self._scales, z)

    def _program(self, function, signature=None):
        traced = backend.program(function, input_signature=signature)

        def run(*tensors):
            # While it is traced: ops compile nothing, and what is assigned to a variable goes nowhere.
            with backend.uncompiled(), keras.StatelessScope():
                return keras.tree.map_structure(np.asarray, traced(*tensors))

        return run

    def _rows(self, start, size):
        return keras.tree.map_structure(lambda part: tf.convert_to_tensor(part[start : start + size]), self.x)

    def _of_decoder(self, program, z):
        """A program of z, some rows at a time."""
        z = np.asarray(z, self.vae.dtype_scored)
        parts = [program(z[start : start + self.at_once]) for start in range(0, len(z), self.at_once)]
        return keras.tree.map_structure(lambda *rows: np.concatenate(rows), *parts)

    def _encoded(self, x, start):
        posterior = self.vae.encode(x, training=False)
        seed, seed_of_kl = (
            backend.fold_in(backend.seed_for(tf.constant(SEED), purpose), start) for purpose in ("posterior", "elbo")
        )
        kl, self._kl_by = kl_of_units(posterior, self.vae.prior(), seed_of_kl)
        found = centre(posterior), *moments(posterior), posterior.sample(seed=seed)
        return found if kl is None else (*found, kl)

    def _of_prior(self):
        prior = self.vae.prior()
        return prior.sample(DRAWS, seed=backend.seed_for(tf.constant(SEED), "prior")), *moments(prior)

    def _mutual_information(self, x):
        posterior = self.vae.encode(x, training=False)
        return mutual_information(posterior, posterior.sample(seed=tf.constant(SEED)))

    def _gradient_norm(self, x, step):
        vae = self.vae
        variables = vae.trainable_variables
        values = [tf.convert_to_tensor(variable.value) for variable in variables]
        # By values in place of variables, which other devices may have, too.
        with tf.GradientTape() as tape, keras.StatelessScope(list(zip(variables, values, strict=True))):
            tape.watch(values)
            forward = vae.forward_pass(x, tf.constant(SEED), training=False)
            terms = vae.objective(dataclasses.replace(forward, step=step))  # constants of this step, as weights are
            weights = weights_at(vae.objective, step)
            means = {name: ops.cast(ops.mean(value), "float32") for name, value in terms.items()}
            loss = sum(ops.cast(weights[name], "float32") * mean for name, mean in means.items())
        gradients = tape.gradient(loss, values)
        return tf.linalg.global_norm([ops.cast(each, "float32") for each in gradients if each is not None])

    def _point_estimates(self, z):
        return point_estimate(self.vae.decode(z, training=False))

    def _standard_deviations(self, z):
        found = {}
        for name, part in parts_of(self.vae.decode(z, training=False)).items():
            with contextlib.suppress(NotImplementedError):
                found[name] = part.stddev()
        return found

    def _sigmas(self, z):
        found = {}
        for name, part in parts_of(self.vae.decode(z, training=False)).items():
            part = part.distribution if isinstance(part, Delegate) else part
            if not hasattr(part, "loc") or getattr(getattr(part, "support", None), "is_integer", False):
                continue
            if hasattr(part, "log_variance"):
                found[name] = ops.exp(0.5 * part.log_variance) + ops.zeros_like(part.loc)
            elif hasattr(part, "log_scale"):
                found[name] = ops.exp(part.log_scale) + ops.zeros_like(part.loc)
        return found


def parts_of(whole):
    """The parts of an x, or of a `Joint`'s distribution, by name; what has none is one itself, without a name."""
    parts = whole if isinstance(whole, dict) else getattr(whole, "parts", None)
    return {"": whole} if parts is None else parts


def moments(distribution):
    """Mean and standard deviation, of many draws where there is no closed form."""
    try:
        return distribution.mean(), distribution.stddev()
    except NotImplementedError:
        draws = distribution.sample(DRAWS, seed=tf.constant(SEED))
        return ops.mean(draws, axis=0), ops.std(draws, axis=0)
