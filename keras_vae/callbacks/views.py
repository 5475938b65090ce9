"""The pictures of a VAE: its fixed examples beside what it makes of them, and what it makes of latents."""

import math
import statistics
from typing import NamedTuple

import numpy as np

from keras_vae import compat
from keras_vae.callbacks.inspection import parts_of
from keras_vae.callbacks.warn_instead import warn_instead
from keras_vae.data.parts import pick
from keras_vae.layers.likelihood_layer import likelihood_layers
from keras_vae.pictures import Pixels, picture_of


class View(NamedTuple):
    """One picture: its name, what it shows, in words, and uint8 `[height, width, channels]`."""

    name: str
    text: str
    pixels: np.ndarray


class Sizes(NamedTuple):
    """How much a picture shows.

    Attributes:
        pairs: of original and reconstruction.
        samples: rows and columns.
        units: of a traversal.
        steps: along each unit.
        manifold: points a side.
    """

    pairs: int
    samples: tuple
    units: int
    steps: int
    manifold: int


IMAGES = Sizes(pairs=16, samples=(8, 8), units=10, steps=11, manifold=20)
PLOTS = Sizes(pairs=8, samples=(4, 4), units=6, steps=7, manifold=8)
ESTIMATE = "the mean of p(x|z), of categories the likeliest,"
REACH = 3.0  # of a traversal, either way, in standard deviations of the prior


class Views:
    """Draws the pictures of a VAE, of the same examples and the same noise each time.

    Args:
        owner: the callback, of messages.
        inspector: an `Inspector` of a built `VAE` and the examples.
        shape: what shape to see an x in, if not its own: see `keras_vae.pictures.picture_of`. Of an x of several parts
            a dictionary of some of them.

    Raises:
        ImportError: there is something to plot, and no matplotlib.
        ValueError: x does not have that shape.
    """

    def __init__(self, owner, inspector, shape=None):
        self.owner = owner
        self.vae = inspector.vae
        self.inspector = inspector
        self.x = parts_of(pick(inspector.x, self.vae.target))
        self.shapes = {name: shape.get(name) if isinstance(shape, dict) else shape for name in self.x}
        try:
            self.pictures = {name: picture_of(x.shape[1:], x, self.shapes[name]) for name, x in self.x.items()}
        except ValueError as error:
            raise ValueError(f"{owner}: of `shape`, {shape}: {error}") from None

    def draw(self, latents):
        """A `View` of each kind, and of each part of x, as they are drawn; of one that cannot be, a warning.

        Args:
            latents: `Latents` of the examples, as they are now.
        """
        for name in self.pictures:
            for make in (self._pairs, self._samples, self._traversal, self._manifold, self._sigma):
                view = None
                with warn_instead(self.owner, f"draw {part_title(make.__name__.strip('_'), name)}"):
                    view = make(name, latents, self.sizes(name))
                if view is not None:
                    yield view

    def sizes(self, name):
        return IMAGES if isinstance(self.pictures[name], Pixels) else PLOTS

    def sigmas(self, latents):
        """Sigma for a few examples, `[n, *event]`, of each part where it is a function of z."""
        names = [name for name in self.pictures if getattr(self._scale(name), "parameters_per_element", 0)]
        found = self.inspector.stddevs(latents.centre[: IMAGES.pairs]) if names else {}
        return {name: found[name] for name in names if name in found}

    def sprite(self):
        """The examples as one sheet of thumbnails, and the width and height of one: of x's first part."""
        name = next(iter(self.pictures))
        return self.pictures[name].sprite(self.x[name])

    def _pairs(self, name, latents, sizes):
        x = self.x[name][: sizes.pairs]
        pixels = self.pictures[name].pairs(x, self._decoded(name, latents.centre[: sizes.pairs]))
        return View(
            part_title("reconstructions", name),
            f"originals, and {ESTIMATE} at the mean or centre of q(z|x)",
            pixels,
        )

    def _samples(self, name, latents, sizes):
        rows, columns = sizes.samples
        pixels = self._grid(name, latents.prior_draw[: rows * columns], rows)
        return View(part_title("samples", name), f"{ESTIMATE} at draws of z from the prior", pixels)

    def _traversal(self, name, latents, sizes):
        order = most_active(latents)[: sizes.units]
        reach = np.linspace(-REACH, REACH, sizes.steps)
        z = np.tile(latents.centre[0].reshape(-1), (len(order), sizes.steps, 1))
        along = latents.prior_mean.reshape(-1)[:, None] + latents.prior_stddev.reshape(-1)[:, None] * reach
        for row, unit in enumerate(order):
            z[row, :, unit] = along[unit]
        text = (
            f"a row a unit, most active first, from {-REACH:g} to {REACH:g} standard deviations of the prior, with the "
            "others at the first example's mean"
        )
        return View(part_title("traversal", name), text, self._grid(name, z, len(order)))

    def _manifold(self, name, latents, sizes):
        if latents.prior_mean.size != 2:
            return None
        places = (np.arange(sizes.manifold) + 0.5) / sizes.manifold
        quantiles = np.array([statistics.NormalDist().inv_cdf(place) for place in places])
        across, down = np.meshgrid(quantiles, quantiles[::-1])
        z = latents.prior_mean.reshape(-1) + latents.prior_stddev.reshape(-1) * np.stack([across, down], axis=-1)
        text = f"{ESTIMATE} at quantiles of the prior, even in probability: Figure 4 of arXiv 1312.6114"
        return View(part_title("manifold", name), text, self._grid(name, z, sizes.manifold))

    def _sigma(self, name, latents, sizes):
        found = self.inspector.stddevs(latents.centre[: sizes.pairs]) if self._has_map_of_sigma(name) else {}
        sigma = found.get(name)
        if sigma is None or not np.nanmax(sigma, initial=0.0, where=np.isfinite(sigma)) > 0.0:
            return None
        # In its own range: what is certain is dark.
        limits = 0.0, float(np.max(sigma[np.isfinite(sigma)]))
        picture = picture_of(sigma.shape[1:], sigma, self.shapes[name], limits=limits)
        columns = math.ceil(len(sigma) / 2)
        rows = -(-len(sigma) // columns)
        sigma = np.resize(sigma, (rows, columns, *sigma.shape[1:]))
        text = "the standard deviation of p(x|z), at the first examples' reconstructions; black is 0"
        return View(part_title("sigma", name), text, picture.grid(sigma))

    def _grid(self, name, z, rows):
        found = self._decoded(name, z.reshape(-1, *self.vae.prior.latent_shape))
        return self.pictures[name].grid(found.reshape(rows, -1, *found.shape[1:]))

    def _decoded(self, name, z):
        return parts_of(self.inspector.decode(z))[name]

    def _scale(self, name):
        """Where the sigma of a part of x comes from, or None."""
        return getattr(likelihood_layer(self.vae, name), "scale", None)

    def _has_map_of_sigma(self, name):
        scale = self._scale(name)
        return scale is not None and (scale.parameters_per_element > 0 or np.size(scale.value()) > 1)


def part_title(kind, part):
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
    """The distribution layer that a network, or one nested in it, ends in; else its last layer."""
    return (likelihood_layers(network) or compat.layers_of(network))[-1]
