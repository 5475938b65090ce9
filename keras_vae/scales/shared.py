"""One learned sigma, or one a channel."""

import keras

from keras_vae.scales.base import FreeScale, shape_along


@keras.saving.register_keras_serializable("keras_vae")
class Shared(FreeScale):
    """One learned sigma for the whole event: sigma-VAE's shared variance (arXiv 2006.13202).

        scale = keras_vae.scales.Shared(initial=0.3)
        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.IndependentNormal(13, scale=scale)])
        decoder.build((None, 4))
        scale.value()  # 0.3, until it is trained

    Args:
        initial: sigma before training, above `floor`.
        floor: the smallest sigma, approached smoothly: sigma^2 = exp(raw) + floor^2.
        axis: an axis of the event, or several, along which sigma varies: `axis=-1` for one sigma a channel. None, the
            default, for a single one.

    Raises:
        ValueError: `initial` or `floor` is not a positive finite number, `initial` is not above `floor`, or the event
            has no such axis.
    """

    def __init__(self, initial=1.0, floor=1e-3, axis=None, **kwargs):
        super().__init__(initial=initial, floor=floor, **kwargs)
        self.axis = axis

    def weight_shape(self, event_shape):
        return shape_along(type(self).__name__, event_shape, self.axis)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}
