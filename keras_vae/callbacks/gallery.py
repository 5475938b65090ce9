"""A callback that writes what a VAE makes of a few examples, as picture files."""

import keras

from keras_vae import backend
from keras_vae.callbacks import projector, summaries
from keras_vae.callbacks.examples import Watching, check_vae, check_writable, inspector_for
from keras_vae.callbacks.views import Views
from keras_vae.callbacks.warn_instead import warn_instead
from keras_vae.checks import check_integer


class Gallery(Watching, keras.callbacks.Callback):
    """Writes the pictures that `TensorBoard` shows as PNG files, `reconstructions-0010.png` after the tenth epoch.

    It draws `reconstructions` beside the originals, `samples` of the prior, and a `traversal` of the latents. If there
    are two latents it draws the `manifold`, and where sigma varies over x, `sigma`. The examples and the noise are
    always the same. Each part of a `Joint` has pictures of its own: `samples-age-0010.png`.

        vae.fit(x, epochs=1, callbacks=[keras_vae.callbacks.Gallery(folder)])

    Args:
        folder: where to; it is made if it is not there.
        freq: epochs between two; there is one after the last epoch, too.
        examples: x, as the encoder takes it, of `[N, ...]`. Default: as of `TensorBoard`.
        shape: what shape to see an x in, if not its own: (28, 28, 1) for 784 pixels in a row; of an x of several parts
            a dictionary.

    Raises:
        ImportError: at the start of `fit`, if x is to be plotted and matplotlib is not installed.
        ValueError: `freq` is no positive integer; at the start of `fit`, if the model is no VAE, the examples do not
            fit, or the folder cannot be written.
    """

    def __init__(self, folder="gallery", freq=1, examples=None, shape=None):
        super().__init__()
        self.folder = str(folder)
        self.freq = check_integer("Gallery", "freq", freq)
        self.examples = examples
        self.shape = shape

    def set_model(self, model):
        check_vae("Gallery", model)
        super().set_model(model)
        self._draws, self._views = backend.is_chief(model.distribute_strategy), None
        self._epoch = self._drawn = None
        if not self._draws:
            return
        check_writable("Gallery", "folder", self.folder)
        if model.built:
            self.find_examples()

    def look_at(self, x, labels):
        inspector = inspector_for("Gallery", self.model, x, self.examples)
        if inspector is not None:
            self._views = Views("Gallery", inspector, self.shape)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        if (epoch + 1) % self.freq == 0:
            self._draw()

    def on_train_end(self, logs=None):
        if self._epoch != self._drawn:  # the model as it ends
            self._draw()

    def _draw(self):
        epoch = self._drawn = self._epoch
        if not self._draws:
            return
        with warn_instead("Gallery", f"draw the pictures of epoch {epoch + 1}"):
            if self._views is None:
                self.find_examples()
            if self._views is None:
                return
            for view in self._views.draw(self._views.inspector.latents()):
                name = f"{view.name.replace('/', '-')}-{epoch + 1:04}.png"
                projector.replace(self.folder, name, summaries.png(view.pixels).numpy(), mode="wb")
