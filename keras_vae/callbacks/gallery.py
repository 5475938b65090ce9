"""What a VAE makes of a few examples, as picture files."""

import os

import keras
import tensorflow as tf

from keras_vae import backend, contract
from keras_vae.callbacks import summaries
from keras_vae.callbacks.examples import check_vae, check_writable, examples_for
from keras_vae.callbacks.going_on import going_on
from keras_vae.callbacks.inspection import Inspector
from keras_vae.callbacks.views import Views


class Gallery(keras.callbacks.Callback):
    """Writes the pictures that `TensorBoard` shows as PNG files, `reconstructions-0010.png` after the tenth epoch.

    `reconstructions` beside the originals, `samples` of the prior, a `traversal` of the latents, the `manifold` if
    there are two, and `sigma` where it varies over x: always of the same examples, and with the same noise. Of a
    `Joint` each part has its own: `samples-age-0010.png`.

    Args:
        folder: where to; it is made if it is not there.
        freq: epochs between two.
        examples: x, as the encoder takes it, of `[N, ...]`. Default: the first 512 of the data that `fit` validates on,
            or else trains on; a generator's can be read once, and so none are taken.
        shape: what shape to see an x in, if not its own: (28, 28, 1) for 784 pixels in a row.

    Raises:
        ImportError: at the start of `fit`, if x is to be plotted and matplotlib is not installed.
        ValueError: `freq` is no positive integer; at the start of `fit`, if the model is no VAE, there are no examples,
            they do not fit, or the folder cannot be written.
    """

    def __init__(self, folder="gallery", freq=1, examples=None, shape=None):
        super().__init__()
        self.folder = str(folder)
        self.freq = contract.check_positive_integer("Gallery", "freq", freq)
        self.examples = examples
        self.shape = shape

    def set_model(self, model):
        check_vae("Gallery", model)
        super().set_model(model)
        self._draws, self._views = backend.is_chief(model.distribute_strategy), None
        if not self._draws:
            return
        check_writable("Gallery", "folder", self.folder)
        self._x, _ = examples_for("Gallery", model, self.examples)
        if self._x is None:
            raise ValueError(
                "Gallery: expected examples to draw; received none, and the data are of a kind that can be read but "
                "once. Give some: Gallery(examples=...)"
            )
        if model.built:
            self._look()

    def _look(self):
        self._views = Views(self.model, Inspector("Gallery", self.model, self._x), self.shape)

    def on_epoch_end(self, epoch, logs=None):
        if not self._draws or (epoch + 1) % self.freq:
            return
        with going_on("Gallery", f"draw the pictures of epoch {epoch + 1}"):
            if self._views is None:
                self._look()
            for view in self._views.draw(self._views.inspector.latents()):
                name = f"{view.name.replace('/', '-')}-{epoch + 1:04}.png"
                tf.io.write_file(os.path.join(self.folder, name), summaries.png(view.pixels))
