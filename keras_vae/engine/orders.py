"""In which order an epoch takes the rows of arrays: a function of a seed and of the batches before the epoch."""

import tensorflow as tf


@tf.autograph.experimental.do_not_convert
def order_of(num_rows, batch_size, shuffle, seed, first_batch):
    """The numbers of an epoch's rows, in the order in which they are taken: int32 `[num_rows]`.

    Args:
        num_rows: how many rows there are, an integer.
        batch_size: rows a batch, an integer.
        shuffle: True for a new order each epoch, "batch" for a new order of the same batches, or False.
        seed: an integer.
        first_batch: the number of the epoch's first batch, counted over all epochs: an int64 tensor, or an integer.
    """

    def shuffled(number):
        key = tf.stack([tf.cast(seed, tf.int64), tf.cast(first_batch, tf.int64)])
        return tf.random.experimental.stateless_shuffle(tf.range(number), key)

    if shuffle != "batch":
        return shuffled(num_rows) if shuffle else tf.range(num_rows)
    full_batches = num_rows // batch_size
    starts = shuffled(full_batches) * batch_size
    rows = tf.reshape(starts[:, None] + tf.range(batch_size), [-1])
    return tf.concat([rows, tf.range(full_batches * batch_size, num_rows)], 0)  # a short last batch stays the last
