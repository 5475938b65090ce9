"""Missing entries: what an encoder takes in their place."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_vae")
class Impute(keras.layers.Layer):
    """Puts a number in place of NaN: the first layer of an encoder for data with missing entries (see `Masked`).

    Args:
        value: the number; 0, the default, is the mean of data that is standardised.
        mask: True to append, along the last axis, 1 for each entry that was observed and 0 for each that was not, so
            that the network can tell them apart.

    Returns:
        `[B, ..., C]`, or `[B, ..., 2 C]` with the mask, of x `[B, ..., C]`.
    """

    def __init__(self, value=0.0, mask=False, **kwargs):
        super().__init__(**kwargs)
        self.value = value
        self.mask = mask

    def call(self, x):
        observed = ops.logical_not(ops.isnan(x))
        imputed = ops.where(observed, x, ops.cast(self.value, x.dtype))
        return ops.concatenate([imputed, ops.cast(observed, x.dtype)], axis=-1) if self.mask else imputed

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1]) if self.mask else tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "value": self.value, "mask": self.mask}
