"""The rows of a sparse matrix, made dense a few at a time: nothing larger than what a step takes is ever dense."""

import keras
import numpy as np
import tensorflow as tf


class SparseRows:
    """A sparse array `[N, ...]` by rows: the places and values of what is not 0.

    It looks like an array to whoever asks for its shape, its dtype or a slice of rows. `gather` makes rows dense. It is
    TensorFlow's code, and runs within a data set as well.

    Args:
        values: what is not 0, row after row, `[nnz]`.
        columns: the place of each in its row, seen flat, `[nnz]`.
        splits: where each row begins and ends, `[N + 1]`.
        shape: of the array, a tuple.
        stays_sparse: whether rows are gathered as a `tf.SparseTensor`, for an encoder that takes one.
    """

    def __init__(self, values, columns, splits, shape, stays_sparse=False):
        self.values, self.columns, self.splits = values, columns, splits
        self.shape = tuple(int(size) for size in shape)
        self.stays_sparse = stays_sparse

    @property
    def dtype(self):
        """NumPy's."""
        return self.values.dtype

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def row_size(self):
        """Numbers in one row."""
        return int(np.prod(self.shape[1:]))

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """A slice of rows, one after another."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError(f"SparseRows: expected a slice of step 1; received: {rows}")
        splits = self.splits[start : max(start, stop) + 1]
        kept = slice(splits[0], splits[-1])
        shape = (len(splits) - 1, *self.shape[1:])
        return SparseRows(self.values[kept], self.columns[kept], splits - splits[0], shape, self.stays_sparse)

    def __array__(self, dtype=None, copy=None):
        dense = np.zeros((len(self), self.row_size), self.dtype)
        np.add.at(dense, (np.repeat(np.arange(len(self)), np.diff(self.splits)), self.columns), self.values)
        return dense.reshape(self.shape).astype(dtype or self.dtype, copy=False)

    def distinct_values(self):
        """All that it holds, as an array in which 0 stands once, and last: enough to see that nothing is amiss."""
        is_full = len(self.values) == len(self) * self.row_size
        return self.values if is_full else np.append(self.values, np.zeros(1, self.dtype))

    def gather(self, numbers):
        """The rows of these numbers, `[*numbers, ...]`: a dense tensor, floats in Keras's default precision."""
        flat = tf.cast(tf.reshape(numbers, [-1]), tf.int64)
        places, values, size = self._gathered(flat)
        dense = tf.scatter_nd(places, values, tf.stack([size, self.row_size]))
        return tf.reshape(dense, tf.concat([tf.shape(numbers), tf.constant(self.shape[1:], tf.int32)], 0))

    def gather_sparse(self, numbers):
        """The rows of these numbers, `[n]`: a `tf.SparseTensor` `[n, ...]`."""
        places, values, size = self._gathered(tf.cast(numbers, tf.int64))
        found = tf.SparseTensor(places, values, tf.stack([size, tf.constant(self.row_size, tf.int64)]))
        return tf.sparse.reshape(found, [-1, *self.shape[1:]])

    def _gathered(self, numbers):
        """Places `[n, 2]` and values `[n]` of what is not 0 in the rows of these numbers; and the number of rows."""
        starts, ends = tf.gather(self.splits, numbers), tf.gather(self.splits, numbers + 1)
        where = tf.ragged.range(starts, ends)
        places = tf.stack([where.value_rowids(), tf.gather(self.columns, where.values)], axis=1)
        values = tf.gather(self.values, where.values)
        floatx = keras.config.floatx()
        values = tf.cast(values, floatx) if values.dtype.is_floating or values.dtype.is_bool else values
        return places, values, tf.size(numbers, tf.int64)


def sparse_rows(array):
    """`SparseRows` of SciPy's sparse arrays and of TensorFlow's sparse tensors, with values; None for anything else."""
    if hasattr(array, "tocsr") and hasattr(array, "shape"):
        rows = array.tocsr()
        if not rows.has_canonical_format:
            rows = rows.copy()
            rows.sum_duplicates()  # and sorts
        return SparseRows(rows.data, rows.indices.astype("int64"), rows.indptr.astype("int64"), rows.shape)
    if not isinstance(array, tf.SparseTensor) or tf.is_symbolic_tensor(array.values):
        return None
    shape = array.shape.as_list()
    flat = tf.sparse.reorder(tf.sparse.reshape(array, [shape[0], int(np.prod(shape[1:]))]))
    numbers, columns = flat.indices.numpy().T
    splits = np.searchsorted(numbers, np.arange(shape[0] + 1))
    return SparseRows(flat.values.numpy(), columns, splits, shape)


def is_sparse(value):
    """Whether a value is a sparse tensor, of numbers that are known or symbolic, or the specification of one."""
    return isinstance(value, (tf.SparseTensor, tf.SparseTensorSpec))


def is_ragged(value):
    """Whether a value is a ragged tensor, or the specification of one."""
    return isinstance(value, (tf.RaggedTensor, tf.RaggedTensorSpec))


def dense(tensor):
    """A sparse tensor as a dense one; any other as it is."""
    return tf.ensure_shape(tf.sparse.to_dense(tensor), tensor.shape) if is_sparse(tensor) else tensor
