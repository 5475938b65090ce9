"""A layer that puts numbers in place of missing entries, for an encoder to read."""

import keras
from keras import ops

from keras_vae.checks import check_flag


@keras.saving.register_keras_serializable("keras_vae")
class Impute(keras.layers.Layer):
    """Puts a number in place of NaN. It is the first layer of an encoder for data with missing entries (see `Masked`).

        posterior = keras_vae.layers.IndependentNormal(4)
        encoder = keras.Sequential([keras_vae.layers.Impute(), layers.Dense(64, "relu"), posterior])
        encoder(np.where(x > 2.0, np.nan, x)).mean()  # finite

    Sequences of different lengths are padded with NaN. With `mask_steps=True` layers that know Keras's masks pass over
    steps of which nothing was observed: LSTM, GRU, Bidirectional, MultiHeadAttention, GlobalAveragePooling1D. Neither
    what is put there nor how many there are changes q(z|x).

        impute = keras_vae.layers.Impute(mask=True, mask_steps=True)
        encoder = keras.Sequential([impute, layers.GRU(8), keras_vae.layers.IndependentNormal(4)])
        sequences = np.stack([x[:, :6], x[:, 6:12]], axis=-1)  # [B, T, C], of which some end early
        sequences[:8, 4:] = np.nan
        encoder(sequences).mean()  # of the first eight as if they had four steps

    A step that is missed in the middle is passed over as well. If gaps count, give the time as a part of x of its own.

    Args:
        value: the number; 0, the default, is the mean of data that is standardised.
        mask: True to append, along the last axis, 1 for each entry that was observed and 0 for each that was not, so
            that the network can tell them apart.
        mask_steps: True to hand on a Keras mask `[B, T]` with x `[B, T, ...]`: True for each step of which something
            was observed. A layer that knows no masks, such as Flatten or Conv1D, warns of it; BatchNormalization
            leaves masked steps out of its statistics.

    Raises:
        ValueError: with `mask_steps`, x has no axis of steps and one of features.

    Returns:
        `[B, ..., C]`, or `[B, ..., 2 C]` with the mask, of x `[B, ..., C]`; of x `[B]`, `[B]`, or `[B, 2]` with it.
    """

    def __init__(self, value=0.0, mask=False, mask_steps=False, **kwargs):
        super().__init__(**kwargs)
        self.value = value
        self.mask = mask
        self.mask_steps = check_flag("Impute", "mask_steps", mask_steps)
        self.supports_masking = mask_steps

    def call(self, x):
        x = ops.cast(x, self.compute_dtype)
        observed = ops.logical_not(ops.isnan(x))
        imputed = ops.where(observed, x, ops.cast(self.value, x.dtype))
        if not self.mask:
            return imputed
        join = ops.stack if len(x.shape) == 1 else ops.concatenate
        return join([imputed, ops.cast(observed, x.dtype)], axis=-1)

    def compute_mask(self, x, previous_mask=None):
        """Which steps something was observed of, `[B, T]`, and were not masked before. With `mask_steps` alone."""
        if not self.mask_steps:
            return previous_mask
        if len(x.shape) < 3:
            raise ValueError(
                "Impute: expected x of shape [batch, steps, features] for mask_steps=True; received x of shape "
                f"{tuple(x.shape)}. Give it an axis of features, x[..., None], or leave mask_steps out."
            )
        observed = ops.logical_not(ops.isnan(ops.cast(x, self.compute_dtype)))
        steps = ops.any(observed, axis=tuple(range(2, len(x.shape))))
        return steps if previous_mask is None else ops.logical_and(steps, previous_mask)

    def compute_output_shape(self, input_shape):
        if not self.mask:
            return tuple(input_shape)
        return (*input_shape, 2) if len(input_shape) == 1 else (*input_shape[:-1], 2 * input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "value": self.value, "mask": self.mask, "mask_steps": self.mask_steps}
