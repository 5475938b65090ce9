"""The base class of the priors, which holds the shape of one latent: its own, or the posterior's."""

from collections.abc import Sequence

import keras

from keras_vae.backend import tfd
from keras_vae.checks import check_event_shape
from keras_vae.reprs import repr_of


class Prior(keras.layers.Layer):
    """A distribution p(z) over the latent: `prior()` returns a `tfd.Distribution` of batch `[]`.

    A subclass defines `distribution()`. It creates the weights that it owns in `build(event_shape)`, which starts with
    `super().build(event_shape)`.

        @keras.saving.register_keras_serializable("my_package")
        class LearnedMean(keras_vae.priors.Prior):
            def build(self, event_shape):
                super().build(event_shape)
                self.mean = self.add_weight(shape=event_shape, name="mean")

            def distribution(self):
                return tfp.distributions.Independent(tfp.distributions.Normal(self.mean, 1.0), len(self.latent_shape))

        vae = keras_vae.VAE(vae.encoder, vae.decoder, prior=LearnedMean())

    Args:
        event_shape: shape of one latent: an integer, or integers. None, the default, takes the posterior's.

    Raises:
        ValueError: `event_shape` holds anything but positive integers, or is not the posterior's.
    """

    def __init__(self, event_shape: int | Sequence[int] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.event_shape = None if event_shape is None else check_event_shape(type(self).__name__, event_shape)

    def build(self, event_shape: Sequence[int]) -> None:
        event_shape = tuple(event_shape)
        if self.event_shape not in (None, event_shape):
            raise ValueError(
                f"{type(self).__name__}: expected the posterior's event shape, {event_shape}; "
                f"received: event_shape={self.event_shape}"
            )
        self.latent_shape = event_shape

    def distribution(self) -> tfd.Distribution:
        """The distribution, of batch `[]` and event `self.latent_shape`."""
        raise NotImplementedError(f"{type(self).__name__} must define `distribution`")

    def __call__(self) -> tfd.Distribution:  # Keras's own wants an input
        if not self.built:
            if self.event_shape is None:
                raise ValueError(
                    f"{type(self).__name__}: expected an event shape, as an argument or from the posterior "
                    "once the VAE has seen data; received none"
                )
            self.build(self.event_shape)
        return self.distribution()

    def __repr__(self):
        return repr_of(self)

    def get_config(self):
        return {**super().get_config(), "event_shape": self.event_shape}
