"""`VAE.adapt`: a model that starts at the data's own means and spreads, whatever units x is in."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_vae.checks import check_optional_integer
from keras_vae.data.data_check import DataCheck
from keras_vae.data.moments import Moments, moments_of
from keras_vae.data.parts import pick
from keras_vae.layers.likelihood_layer import likelihood_layers, warn_of_start

# Beyond, one step of Adam, 1e-3 a weight, moves what a layer of 64 makes of a number by as much as it should be in all.
LARGE = 20.0

# Layers that bring their input to about one themselves.
SCALING = (
    keras.layers.Normalization,
    keras.layers.Rescaling,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Embedding,
)


class Adaptable(keras.Model):
    """A model that `adapt` starts at data. A subclass is a `Trainer` with an encoder, a decoder and a prior."""

    def adapt(self, x: Any, batch_size: int | None = None, steps: int | None = None, check_data: bool = True) -> None:
        """Starts the model at the data's own means and spreads: for x in any units. To be called before `fit`.

            vae = keras_vae.VAE(encoder, decoder)
            vae.adapt(x)
            vae.compile("adam")
            vae.fit(x, epochs=10)

        Afterwards, and before any training, p(x|z) is one distribution whatever z. Its moments are those of the data:
        of each element of x, or of each channel where the decoder ends in a convolution. So `nll` starts at what a
        model without latents would have. The posterior is the prior, so that `kl` starts at 0. For that, the last
        projections of encoder and decoder get kernels of zero, and biases. (Burda, Grosse & Salakhutdinov, arXiv
        1509.00519, start a decoder's biases at the data's means.)

        The encoder's first layer is adapted, too, where it is given the scored part of x as it is. It is the first of a
        Sequential model, after a Flatten at most, or is called on an Input.

        - A `keras.layers.Normalization` gets mean and variance, unless it was given some.
        - A `Dense` gets weights in units of each column's spread, about its mean, as if the column had been scaled.

        Whatever else comes first is left as it is, with a warning if columns of x are large. NaN, which `Masked` takes
        for what was not observed, is left out of all moments. An element that never varies gets a sigma of 1. A
        likelihood that cannot be adapted stays as it is, with a warning: a `DistributionLambda`, one with
        `projection=False`. To adapt anew is to start anew.

        Args:
            x: arrays, a `tf.data.Dataset` or a `PyDataset`, read once, batch by batch. Several workers are each to
                be given the same.
            batch_size, steps: to look at the first `steps` batches alone; of arrays they have `batch_size` rows, 32 by
                default.
            check_data: False to trust the data unseen, as in `fit`.

        Raises:
            ValueError: x is a generator, which could be read but once, or an endless data set without `steps`; or as in
                `fit`.
        """
        check_optional_integer("adapt", "batch_size", batch_size)
        check_optional_integer("adapt", "steps", steps)
        with self.engine.turns.alone("adapt"), DataCheck(self, enabled=check_data) as check:
            given = {"x": x}
            self.take_in(given, check, "x")
            self.prepare_data(given, check, "x")
            likelihood = (likelihood_layers(self.decoder) or [None])[-1]
            levels = getattr(likelihood, "counted_levels", 0)
            moments = moments_of(given["x"], lambda batch: pick(batch, self.target), levels, batch_size, steps)
        with self.distribute_strategy.scope():
            if likelihood is None:
                warn_of_start(self.decoder, "it ends in no layer of keras_vae.layers")
            else:
                likelihood.start_at(moments)
            self._start_posterior()
            self._start_encoder(moments)
        self.known.is_adapted = True
        self.forget_steps()  # in a program a Normalization's mean is a constant

    def _start_posterior(self):
        """Starts the posterior at the prior."""
        layers = likelihood_layers(self.encoder)
        if not layers:
            return warn_of_start(self.encoder, "it ends in no layer of keras_vae.layers")
        prior = self.prior()
        try:
            moments = Moments.given(prior.mean(), prior.stddev())
        except NotImplementedError:
            return warn_of_start(layers[-1], "the prior has no mean or standard deviation in closed form to start at")
        layers[-1].start_at(moments)

    def _start_encoder(self, moments):
        """Starts the first layers of the encoder, of each part of x that is scored."""
        for key, part in moments.items() if isinstance(moments, dict) else [(None, moments)]:
            found = first_layers(self.encoder, self.target, key)
            is_scaled = [start_first(layers, part) for layers in found]
            large = np.flatnonzero(part.largest > LARGE)
            if large.size and not (is_scaled and all(is_scaled)):
                columns = f"{', '.join(map(str, large[:5]))}{', ...' if large.size > 5 else ''}"
                name = "x" if key is None else f"x[{key!r}]"
                warnings.warn(
                    f"adapt: {large.size} columns of {name} hold numbers above {LARGE:g} (columns {columns}), and the "
                    "encoder's first layer is none that adapt can scale them for: training may diverge. Start the "
                    "encoder with keras.layers.Normalization(), which adapt fills in.",
                    UserWarning,
                    stacklevel=3,
                )


def first_layers(network, target=None, key=None):
    """The layers that are given a part of a network's input as it is, each in a list with those that follow it.

    Args:
        network: the encoder.
        target, key: which part: x[target], and of that the entry `key`, if it is a dictionary.
    """
    if isinstance(network, keras.Sequential):
        layers = network.layers
        inner = layers and isinstance(layers[0], keras.Model)
        return first_layers(layers[0]) if inner else [layers] if layers else []
    try:
        entry = pick(network.input, target)
        entry = entry if key is None else entry[key]
    except (AttributeError, ValueError, KeyError, TypeError):
        return []  # a network of one's own, whose input is not known
    found = []
    for layer in network.layers:
        if not isinstance(layer, keras.layers.InputLayer) and input_of(layer) is entry:
            found += first_layers(layer) if isinstance(layer, keras.Model) else [chain_from(layer, network)]
    return found


def chain_from(layer, network):
    """A layer of a functional network and, if that is a Flatten, the layer that follows it."""
    if not isinstance(layer, keras.layers.Flatten):
        return [layer]
    return [layer, *(each for each in network.layers if input_of(each) is layer.output)]


def input_of(layer):
    """The symbolic input of a layer that was called once; else None."""
    try:
        return layer.input
    except (AttributeError, ValueError):
        return None


def start_first(layers, moments):
    """Adapts the first of some layers, one after another, to what it is given; whether it brings that to about one."""
    first, *rest = layers
    if isinstance(first, keras.layers.Flatten):
        return bool(rest) and start_first(rest, moments.flat())
    if isinstance(first, keras.layers.Normalization):
        if is_to_be_adapted(first):
            start_normalization(first, moments)
        return True
    if isinstance(first, keras.layers.Dense) and first.trainable and moments.mean.ndim:
        start_dense(first, moments)
        return True
    return isinstance(first, SCALING)


def is_to_be_adapted(layer):
    """Whether a Normalization has no mean and variance yet but those that this module gave it, which counts."""
    if layer.input_mean is not None or layer.invert or 0 in layer.axis:
        return False
    is_fresh = not np.any(layer.adapt_mean) and np.all(np.asarray(layer.adapt_variance) == 1.0)
    return bool(is_fresh or int(np.asarray(layer.count)))


def start_normalization(layer, moments):
    """Gives a Normalization mean and variance, of each element along its `axis`; of what never varies, a variance of 1.

    Its axes count the batch's.
    """
    ndim = moments.mean.ndim
    kept = {axis % (ndim + 1) - 1 for axis in layer.axis}
    pooled = moments.pooled(tuple(0 if axis in kept else 1 for axis in range(ndim)))
    variance = np.where(pooled.variance > 0.0, pooled.variance, 1.0)
    layer.adapt_mean.assign(np.reshape(pooled.mean, layer.adapt_mean.shape))
    layer.adapt_variance.assign(np.reshape(variance, layer.adapt_variance.shape))
    layer.count.assign(min(int(pooled.count.max()), 2**31 - 1))
    layer.finalize_state()


def start_dense(layer, moments):
    """Scales the weights of a Dense as if its input had been standardised: W / s, and the bias -m W / s.

    Each row of W is as large as Glorot's initialiser has it (Glorot & Bengio, "Understanding the difficulty of training
    deep feedforward neural networks", 2010). So it does not matter how often. The spread s is the standard deviation,
    and at least a tenth of the largest distance from the mean. So rare values are not magnified.
    """
    columns = moments.pooled((1,) * (moments.mean.ndim - 1) + (0,)).flat()
    kernel = np.asarray(layer.kernel).astype("float64")
    size = np.sqrt(np.mean(np.square(kernel), axis=1, keepdims=True))
    kernel = kernel * np.where(size > 0.0, np.sqrt(2.0 / sum(kernel.shape)) / np.where(size > 0.0, size, 1.0), 0.0)
    furthest = np.maximum(columns.high - columns.mean, columns.mean - columns.low)
    spread = np.where(columns.variance > 0.0, np.maximum(columns.stddev, 0.1 * furthest), 1.0)
    kernel = kernel / spread[:, None]
    layer.kernel.assign(kernel)
    if layer.use_bias:
        layer.bias.assign(-columns.mean @ kernel)
