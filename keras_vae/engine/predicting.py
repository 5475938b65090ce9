"""How `predict` runs on one device: a batch at a time, by one program for each shape of a batch."""

import keras
import tensorflow as tf

from keras_vae import backend


class BatchFunction:
    """What Keras calls with a list of batches: the model's outputs for them, in order.

    Args:
        model: a Keras model.

    Attributes:
        program: the `tf.function` of one batch.
    """

    def __init__(self, model):
        self.program = backend.program(model.predict_step, jit_compile=model.jit_compile or None)

    def __call__(self, batches):
        outputs = [self.program(batch) for batch in batches]
        return keras.tree.map_structure(lambda *parts: parts[0] if len(parts) == 1 else tf.concat(parts, 0), *outputs)
