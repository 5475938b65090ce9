"""Arrays in memory as blocks of batches: what Keras would make of them, without a pipeline to set up."""

import concurrent.futures
import itertools

import keras
import numpy as np
import tensorflow as tf

from keras_vae import compat
from keras_vae.data.sparse_rows import SparseRows
from keras_vae.engine.blocks import Block
from keras_vae.engine.orders import order_of

# Where arrays stay.
MEMORY = "CPU:0"

# Bytes that a tensor's memory begins at a multiple of.
ALIGNMENT = 64

# Bytes: of a block that is gathered on a thread of its own, of an epoch in order whose blocks are kept.
WORTH_A_THREAD = 2**20
WORTH_KEEPING = 2**26


class ArrayBlocks(compat.DataAdapter):
    """Rows of a structure of arrays as blocks of batches, epoch after epoch: what Keras's trainer reads.

    An element is a `Block`, gathered in one go, or a batch. A large one is gathered while the one before is used.

    Args:
        arrays: a structure of arrays `[N, ...]`.
        batch_size: rows a batch.
        batches_per_block: how many batches, the short last one among them, an element holds; None for elements that
            are batches.
        shuffle, seed: of the orders: as of `keras_vae.engine.orders.order_of`.
        first_batch: a function that gives the number of the first batch, called when reading begins. Default: 0.
        continues: whether that batch may be in the middle of an epoch, as far as elements end there; else it begins
            one.
        num_elements: how many elements there are; None for no end.
    """

    num_batches = None  # Keras is told how many make an epoch

    def __init__(
        self,
        arrays,
        batch_size,
        batches_per_block,
        shuffle=False,
        seed=0,
        first_batch=int,
        continues=False,
        num_elements=None,
    ):
        with tf.device(MEMORY):
            self.arrays = keras.tree.lists_to_tuples(keras.tree.map_structure(as_source, arrays))
        self.num_rows = int(keras.tree.flatten(self.arrays)[0].shape[0])
        self.rows_per_batch = batch_size
        self.batches_per_block = batches_per_block
        self.shuffle, self.seed = shuffle, seed
        self.first_batch, self.continues = first_batch, continues
        self.num_elements = num_elements
        self.full_batches = self.num_rows // batch_size
        self.batches_per_epoch = -(-self.num_rows // batch_size)
        self._kept = {}  # elements of an epoch in order, by the number of their first batch

    def get_tf_dataset(self):
        return self  # which has all that the trainer asks of a data set: an iterator

    def __iter__(self):
        elements = itertools.islice(self._elements(), self.num_elements)
        return ahead(elements) if self._element_bytes() > WORTH_A_THREAD else elements

    def _elements(self):
        per_element = self.batches_per_block or 1
        first = int(self.first_batch())
        before = first % self.batches_per_epoch if self.continues else 0
        place = before // per_element * per_element
        for epoch in itertools.count(first - before, self.batches_per_epoch):
            order = np.asarray(order_of(self.num_rows, self.rows_per_batch, self.shuffle, self.seed, epoch))
            for at in range(place, self.batches_per_epoch, per_element):
                yield self._element(order, at)
            place = 0

    def _element(self, order, at):
        """The element of an epoch that begins with its batch number `at`."""
        if at in self._kept:
            return self._kept[at]
        element = self._batch(order, at) if self.batches_per_block is None else self._block(order, at)
        is_read_again = not self.shuffle and self.num_elements is None
        if is_read_again and self._bytes() <= WORTH_KEEPING:
            self._kept[at] = element
        return element

    def _batch(self, order, at):
        return self._rows(order[at * self.rows_per_batch : (at + 1) * self.rows_per_batch])

    def _block(self, order, at):
        capacity = min(self.batches_per_block, self.full_batches)
        num_full = min(self.full_batches - at, capacity)
        whole = self.full_batches * self.rows_per_batch  # rows in full batches
        # Beyond the full batches the last row is repeated, so that every block of an epoch has the same shape.
        places = np.minimum(at * self.rows_per_batch + np.arange(capacity * self.rows_per_batch), max(0, whole - 1))
        batches = self._rows(order[places].reshape(capacity, self.rows_per_batch))
        ends = self.num_rows > whole and at + self.batches_per_block >= self.batches_per_epoch
        return Block(batches, num_full, self._rows(order[None, whole:]) if ends else None)

    def _rows(self, numbers):
        with tf.device(MEMORY):  # a GPU is given what a step takes, and not the arrays each time
            return keras.tree.map_structure(lambda array: rows_of(array, numbers), self.arrays)

    def _bytes(self):
        return sum(dense_bytes(array) for array in keras.tree.flatten(self.arrays))

    def _element_bytes(self):
        rows = min(self.num_rows, self.rows_per_batch * (self.batches_per_block or 1))
        return self._bytes() * rows // max(1, self.num_rows)


def ahead(elements):
    """The elements of an iterator, each made on a thread of its own while the one before is used."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        pending = thread.submit(next, elements, None)
        while (element := pending.result()) is not None:
            pending = thread.submit(next, elements, None)
            yield element


def as_source(array):
    """What rows of an array are read from: a tensor; rows of a sparse array, of tensors; or the array, if a file's."""
    if isinstance(array, SparseRows):
        parts = map(as_tensor, (array.values, array.columns, array.splits))
        return SparseRows(*parts, array.shape, array.stays_sparse)
    return array if is_mapped(array) else as_tensor(array)


def rows_of(source, numbers):
    """The rows of these numbers, a tensor `[*numbers, ...]`; of what stays sparse a sparse one, of numbers `[n]`."""
    if isinstance(source, SparseRows):
        return source.gather_sparse(numbers) if source.stays_sparse else source.gather(numbers)
    if isinstance(source, np.ndarray):
        return as_tensor(source[np.asarray(numbers)])
    return tf.gather(source, numbers)


def is_read_by_rows(structure):
    """Whether some part of a structure of arrays is sparse or a file's, of which Keras would make a copy."""
    return any(isinstance(leaf, SparseRows) or is_mapped(leaf) for leaf in keras.tree.flatten(structure))


def is_mapped(array):
    """Whether an array, or what it is a view of, is a file's, of which no more is read than is asked for."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def dense_bytes(source):
    """The bytes of an array, or of what a sparse one would be as an array."""
    size = source.dtype.size if isinstance(source.dtype, tf.DType) else source.dtype.itemsize
    return size * int(np.prod(source.shape))


def as_tensor(array):
    """`array` as a tensor, floats in Keras's default precision.

    What NumPy holds is copied once, into NumPy's memory: TensorFlow's own stays with the process when it is done with.
    """
    floatx = keras.config.floatx()
    if not isinstance(array, tf.Tensor):
        array = np.asarray(array)
        dtype = np.dtype(floatx) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
        if dtype.kind in "fiu" and array.size:
            memory = np.empty(array.size * dtype.itemsize + ALIGNMENT, "uint8")
            start = -memory.ctypes.data % ALIGNMENT
            aligned = memory[start : start + array.size * dtype.itemsize].view(dtype).reshape(array.shape)
            np.copyto(aligned, array, casting="same_kind")
            return tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())
    tensor = tf.convert_to_tensor(array)
    return tf.cast(tensor, floatx) if tensor.dtype.is_floating else tensor
