"""The pictures of a VAE: its fixed examples beside what it makes of them, and what it makes of latents."""

import math
import statistics
from typing import NamedTuple

import keras
import numpy as np

from keras_vae import target
from keras_vae.pictures import Pixels, picture_of


class View(NamedTuple):
    """One picture: its name, what it shows, in words, and uint8 `[height, width, channels]`."""

    name: str
    text: str
    pixels: np.ndarray


class Sizes(NamedTuple):
    """How much a picture shows: pairs of original and reconstruction; samples, rows and columns; units of a traversal,
    and steps along each; points a side of the manifold."""

    pairs: int
    samples: tuple
    units: int
    steps: int
    manifold: int


IMAGES = Sizes(pairs=16, samples=(8, 8), units=10, steps=11, manifold=20)
PLOTS = Sizes(pairs=8, samples=(4, 4), units=6, steps=7, manifold=8)
REACH = 3.0  # of a traversal, either way, in standard deviations of the prior


class Views:
    """Draws the pictures of a VAE, of the same examples and the same noise each time.

    Args:
        vae: a built `VAE`.
        inspector: `Inspector` of the examples.
        shape: what shape to see an x in, if not its own: see `keras_vae.pictures.picture_of`.

    Raises:
        ImportError: there is something to plot, and no matplotlib.
        ValueError: x does not have that shape.
    """

    def __init__(self, vae, inspector, shape=None):
        self.vae = vae
        self.inspector = inspector
        self.shape = shape
        x = target.pick(inspector.x, vae.target)
        self.x = parts_of(keras.tree.map_structure(np.asarray, x))
        self.pictures = {name: picture_of(part.shape[1:], part, shape) for name, part in self.x.items()}

    def draw(self, latents):
        """A `View` of each kind, and of each part of x, as they are drawn.

        Args:
            latents: `Latents` of the examples, as they are now.
        """
        for name in self.pictures:
            sizes = self.sizes(name)
            yield self._pairs(name, latents, sizes.pairs)
            yield self._samples(name, latents, *sizes.samples)
            yield self._traversal(name, latents, sizes.units, sizes.steps)
            if latents.prior_mean.size == 2:
                yield self._manifold(name, latents, sizes.manifold)
            if self._has_map_of_sigma(name):
                yield self._sigma(name, latents, sizes.pairs)

    def sizes(self, name):
        return IMAGES if isinstance(self.pictures[name], Pixels) else PLOTS

    def sigmas(self, latents):
        """Of each part whose sigma is a function of z, its values for a few examples, `[n, *event]`."""
        names = [name for name in self.pictures if getattr(likelihood_layer(self.vae, name), "scale", None) is not None]
        names = [name for name in names if likelihood_layer(self.vae, name).scale.maps]
        found = self.inspector.stddevs(latents.mean[: IMAGES.pairs]) if names else {}
        return {name: found[name] for name in names}

    def sprite(self):
        """The examples as one sheet of thumbnails, and the width and height of one: of x's first part."""
        name = next(iter(self.pictures))
        return self.pictures[name].sprite(self.x[name])

    def _pairs(self, name, latents, num):
        x = self.x[name][:num]
        pixels = self.pictures[name].pairs(x, self._decoded(name, latents.mean[:num]))
        return View(titled("reconstructions", name), "originals, and the mean of p(x|z) at the mean of q(z|x)", pixels)

    def _samples(self, name, latents, rows, columns):
        z = latents.prior_draw
        z = np.resize(z, (rows * columns, *z.shape[1:]))
        return View(titled("samples", name), "p(x|z)'s mean at draws of z from the prior", self._grid(name, z, rows))

    def _traversal(self, name, latents, units, steps):
        order = most_active(latents)[:units]
        reach = np.linspace(-REACH, REACH, steps)
        z = np.tile(latents.mean[0].reshape(-1), (len(order), steps, 1))
        along = latents.prior_mean.reshape(-1)[:, None] + latents.prior_stddev.reshape(-1)[:, None] * reach
        for row, unit in enumerate(order):
            z[row, :, unit] = along[unit]
        text = (
            f"a row a unit, most active first, from {-REACH:g} to {REACH:g} standard deviations of the prior, with the "
            "others at the first example's mean"
        )
        return View(titled("traversal", name), text, self._grid(name, z, len(order)))

    def _manifold(self, name, latents, side):
        quantiles = np.array([statistics.NormalDist().inv_cdf((place + 0.5) / side) for place in range(side)])
        across, down = np.meshgrid(quantiles, quantiles[::-1])
        z = latents.prior_mean.reshape(-1) + latents.prior_stddev.reshape(-1) * np.stack([across, down], axis=-1)
        text = "p(x|z)'s mean at quantiles of the prior, even in probability: Figure 4 of arXiv 1312.6114"
        return View(titled("manifold", name), text, self._grid(name, z, side))

    def _sigma(self, name, latents, num):
        sigma = self.inspector.stddevs(latents.mean[:num])[name]
        # In its own range: what is certain is dark.
        picture = picture_of(sigma.shape[1:], sigma, self.shape, limits=(0.0, float(np.nanmax(sigma))))
        columns = math.ceil(len(sigma) / 2)
        rows = -(-len(sigma) // columns)
        sigma = np.resize(sigma, (rows, columns, *sigma.shape[1:]))
        text = "the standard deviation of p(x|z), at the first examples' reconstructions; black is 0"
        return View(titled("sigma", name), text, picture.grid(sigma))

    def _grid(self, name, z, rows):
        found = self._decoded(name, z.reshape(-1, *self.vae.prior.latent_shape))
        return self.pictures[name].grid(found.reshape(rows, -1, *found.shape[1:]))

    def _decoded(self, name, z):
        return parts_of(self.inspector.decode(z))[name]

    def _has_map_of_sigma(self, name):
        scale = getattr(likelihood_layer(self.vae, name), "scale", None)
        return scale is not None and (scale.maps > 0 or math.prod(scale.value().shape) > 1)


def parts_of(x):
    """x as a dictionary of its parts; what has none is one itself, without a name."""
    return x if isinstance(x, dict) else {"": x}


def titled(kind, part):
    return f"{kind}/{part}" if part else kind


def most_active(latents):
    """The numbers of the latents, flat, the most active first."""
    return np.argsort(-latents.activity.reshape(-1), kind="stable")


def likelihood_layer(vae, part=""):
    """The decoder's last layer; of a `Joint`, that of a part of x; of a `Masked`, what it masks."""
    layer = last_layer(vae.decoder)
    layer = getattr(layer, "likelihoods", {}).get(part, layer)
    return getattr(layer, "likelihood", layer)


def last_layer(network):
    """The layer that a network, or one nested in it, ends in."""
    while getattr(network, "layers", None):
        network = network.layers[-1]
    return network
