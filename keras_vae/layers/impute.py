"""A layer that puts numbers in place of missing entries, for an encoder to read."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_vae")
class Impute(keras.layers.Layer):
    """Puts a number in place of NaN. It is the first layer of an encoder for data with missing entries (see `Masked`).

        posterior = keras_vae.layers.IndependentNormal(4)
        encoder = keras.Sequential([keras_vae.layers.Impute(), layers.Dense(64, "relu"), posterior])
        encoder(np.where(x > 2.0, np.nan, x)).mean()  # finite

    Args:
        value: the number; 0, the default, is the mean of data that is standardised.
        mask: True to append, along the last axis, 1 for each entry that was observed and 0 for each that was not, so
            that the network can tell them apart.

    Returns:
        `[B, ..., C]`, or `[B, ..., 2 C]` with the mask, of x `[B, ..., C]`; of x `[B]`, `[B]`, or `[B, 2]` with it.
    """

    def __init__(self, value=0.0, mask=False, **kwargs):
        super().__init__(**kwargs)
        self.value = value
        self.mask = mask

    def call(self, x):
        x = ops.cast(x, self.compute_dtype)
        observed = ops.logical_not(ops.isnan(x))
        imputed = ops.where(observed, x, ops.cast(self.value, x.dtype))
        if not self.mask:
            return imputed
        join = ops.stack if len(x.shape) == 1 else ops.concatenate
        return join([imputed, ops.cast(observed, x.dtype)], axis=-1)

    def compute_output_shape(self, input_shape):
        if not self.mask:
            return tuple(input_shape)
        return (*input_shape, 2) if len(input_shape) == 1 else (*input_shape[:-1], 2 * input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "value": self.value, "mask": self.mask}
