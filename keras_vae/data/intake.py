"""Data as people have it, as what the rest of the library reads: NumPy arrays, tensors, rows of sparse arrays, streams.

DataFrame, Series, lists, torch, JAX, SciPy -> taken_in -> data check -> engine
"""

import types

import keras
import numpy as np

from keras_vae.data import kinds
from keras_vae.data.parts import pick, replace
from keras_vae.data.sparse_rows import SparseRows, dense, is_ragged, is_sparse, sparse_rows


def taken_in(data, name="x", target=None):
    """`data` with each part as an array or a tensor, and what is scored dense once it is read.

    - A data frame is an array `[N, columns]`, a series `[N, 1]`, as Keras has it. What is not available is NaN.
    - Nested lists of numbers are one array. A list of arrays is an x of several parts.
    - A masked array is one with NaN; tensors of other libraries are NumPy arrays, without a copy where they allow it.
    - A sparse array is `SparseRows`: dense a few rows at a time if it is scored, and else sparse.
    - Streams stay streams, whose batches are taken in as they come. A data set of sparse tensors is made dense there.

    Args:
        data: of any kind that `fit` takes, or None.
        name: what to call it in errors.
        target: which part of x is scored: see `keras_vae.data.parts.pick`.

    Raises:
        ValueError: a data frame has columns that are no numbers beside some that are; lists are no array; what is
            scored is ragged.
    """
    if data is None:
        return None
    if kinds.is_dataset(data):
        return _dense_dataset(data, name, target)
    if isinstance(data, keras.utils.PyDataset):
        return MappedPyDataset(data, lambda index, batch: _batch_taken_in(batch, name, target))
    if isinstance(data, types.GeneratorType):
        return (_batch_taken_in(batch, name, target) for batch in data)
    data = _arrays(data, name)
    scored = _scored(data, target)
    for path, leaf in keras.tree.flatten_with_path(scored):
        if is_ragged(leaf):
            raise _error_of_ragged(name, path)

    def leaf_of(leaf):
        if isinstance(leaf, SparseRows):
            leaf.stays_sparse = not any(leaf is each for each in keras.tree.flatten(scored))
        return leaf

    return keras.tree.map_structure(leaf_of, data)


def one_array(data):
    """Nested lists of numbers as an array, lest they be taken for x, y and weights; anything else as it is."""
    return as_arrays(data) if isinstance(data, list) and _holds_scalars(data) else data


def as_tensors(x, target=None):
    """x as tensors, all of it: dense where it is scored."""
    return keras.tree.map_structure(keras.ops.convert_to_tensor, _read(taken_in(x, target=target)))


def as_arrays(data):
    """A structure with each part as an array or a tensor, where that can be had; else as it is, as labels may be."""
    try:
        return _arrays(data, "data")
    except ValueError:
        return data


def columns_of(x, name="x"):
    """The names of the columns of each data frame in x, by what the part is called: `{"x['blood']": ["age", ...]}`."""
    found = {}
    for path, leaf in keras.tree.flatten_with_path(() if hasattr(x, "tocsr") else x):
        if _is_frame(leaf):
            found[name + "".join(f"[{key!r}]" for key in path)] = [str(column) for column in leaf.columns]
    return found


class MappedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` with each batch of another one changed by a function.

    Args:
        dataset: the other one.
        function: of a batch's number and the batch, to a batch.
    """

    def __init__(self, dataset, function):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset = dataset
        self.function = function

    def __getitem__(self, index):
        return kinds.as_step(self.function(index, self.dataset[index]))

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


def _arrays(data, name):
    """A structure of arrays as people have them as one of arrays and tensors."""
    if isinstance(data, dict) and not hasattr(data, "tocsr"):  # as SciPy's "dictionary of keys" is one
        return {key: _arrays(part, f"{name}[{key!r}]") for key, part in data.items()}
    if isinstance(data, (list, tuple)):
        if _holds_scalars(data):
            return _array_of_lists(data, name)
        parts = [_arrays(part, f"{name}[{index}]") for index, part in enumerate(data)]
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    return _array(data, name)


def _array(leaf, name):
    """One part of x as an array or a tensor; what is neither, nor can be made one, as it is."""
    if (rows := sparse_rows(leaf)) is not None:
        return rows
    if isinstance(leaf, np.ma.MaskedArray):
        return leaf.astype(np.result_type(leaf.dtype, "float32")).filled(np.nan)
    if _is_frame(leaf):
        return _array_of_frame(leaf, name)
    if hasattr(leaf, "to_numpy"):  # pandas' series, and polars'
        array = _numbers_of(leaf)
        return array[:, None] if array.ndim == 1 else array
    if hasattr(leaf, "detach"):  # torch's
        return leaf.detach().cpu().numpy()
    is_foreign = type(leaf).__module__.partition(".")[0] in ("jax", "jaxlib")
    return np.asarray(leaf) if is_foreign else leaf


def _is_frame(leaf):
    return hasattr(leaf, "to_numpy") and hasattr(leaf, "columns")


def _array_of_frame(frame, name):
    dates = [str(c) for c, dtype in zip(frame.columns, frame.dtypes, strict=True) if getattr(dtype, "kind", "") in "Mm"]
    if dates:
        raise ValueError(
            f"Expected {name}, a data frame, to hold numbers; received columns of dates or times, such as {dates[0]!r}."
            f" Say what counts of them in numbers: (df[{dates[0]!r}] - start).dt.total_seconds(), say."
        )
    array = _numbers_of(frame)
    if array.dtype.kind in "OSU":
        text = [str(column) for column in frame.columns if not _is_number(frame[column])]
        if len(text) < array.shape[1]:
            raise ValueError(
                f"Expected {name}, a data frame, to hold numbers; received columns that do not, such as {text[0]!r}"
                f" ({len(text)} of {array.shape[1]}). Leave them out, or number their categories: "
                f"df[{text[0]!r}].astype('category').cat.codes"
            )
    return array


def _is_number(series):
    return _numbers_of(series).dtype.kind in "biuf"


def _numbers_of(frame):
    """A frame or a series as an array: of numbers, with NaN for what is not available, where it holds nothing else."""
    array = np.asarray(frame.to_numpy())
    if array.dtype.kind != "O":
        return array
    try:
        return np.asarray(frame.to_numpy(dtype="float64", na_value=np.nan))  # pandas' own types with missing values
    except (TypeError, ValueError):
        return array


def _holds_scalars(data):
    """Whether nested lists come down to numbers or words, and not to arrays."""
    while isinstance(data, (list, tuple)) and len(data):
        data = data[0]
    return np.isscalar(data)


def _array_of_lists(data, name):
    try:
        return np.asarray(data)
    except ValueError:
        raise ValueError(
            f"Expected {name}, nested lists, to be one array of numbers; received lists of different lengths. Fill them"
            " up to one length: with NaN, which Masked(...) leaves out."
        ) from None


def _scored(x, target):
    """The part of x that is scored; nothing where x has no such part, which is for others to say."""
    try:
        return pick(x, target)
    except ValueError:
        return ()


def _batch_taken_in(batch, name, target):
    x, *rest = batch if isinstance(batch, (list, tuple)) else (batch,)
    x = _read(taken_in(x, name, target))
    return (x, *rest) if rest or isinstance(batch, (list, tuple)) else x


def _read(x):
    """x with all rows of its sparse parts as tensors."""

    def read(leaf):
        if not isinstance(leaf, SparseRows):
            return leaf
        numbers = np.arange(len(leaf))
        return leaf.gather_sparse(numbers) if leaf.stays_sparse else leaf.gather(numbers)

    return keras.tree.map_structure(read, x)


def _dense_dataset(dataset, name, target):
    """A data set whose scored part is dense."""
    spec = keras.utils.unpack_x_y_sample_weight(dataset.element_spec)[0]
    scored = keras.tree.flatten(_scored(spec, target))
    if any(is_ragged(each) for each in scored):
        raise _error_of_ragged(name, ())
    if not any(is_sparse(each) for each in scored):
        return dataset

    def densify(*element):
        x, *rest = element
        x = replace(x, keras.tree.map_structure(dense, pick(x, target)), target)
        return (x, *rest) if rest else x

    return dataset.map(densify)


def _error_of_ragged(name, path):
    part = name + "".join(f"[{key!r}]" for key in path)
    return ValueError(
        f"Expected {part} to be dense, to be scored; received a ragged tensor. Fill it up to one length with what is "
        "not scored: x.to_tensor(float('nan'), shape=[None, length]), under keras_vae.layers.Masked(...)."
    )
