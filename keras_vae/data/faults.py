"""What is wrong with the numbers of an array, in words: not finite, outside what is scored, missing altogether."""

import numpy as np

# Bytes of an array that is looked at in one piece: what it takes to look is as much again.
AT_ONCE = 2**27


def as_looked_at(value):
    """An array, a tensor or rows of a sparse array as what the functions below look at: NumPy's, or those rows."""
    return value if hasattr(value, "distinct_values") else np.asarray(value)


def error_in(array, name, support=None, where=""):
    """The error that an array `[N, ...]` deserves, or None. With a support, it must hold numbers, and in there."""
    if array.dtype.kind in "OSUMmc":
        message = f"Expected {name} to hold numbers; received dtype {array.dtype}."
        return None if support is None else ValueError(message)
    distinct = getattr(array, "distinct_values", None)
    if distinct is not None and _error_in_rows(distinct(), name, support, where, 0) is None:
        return None  # a sparse array; else its rows say where
    errors = (_error_in_rows(rows, name, support, where, start) for start, rows in pieces(array))
    return next((error for error in errors if error is not None), None)


def _error_in_rows(x, name, support, where, first_row):
    if x.size == 0:
        return None  # an empty batch is no reason to stop
    may_be_missing = support is not None and support.may_be_missing
    low, high = x.min(), x.max()  # both carry a NaN through: two passes over memory and no copy
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = np.isinf(x) if may_be_missing else ~np.isfinite(x)
        if not bad.any():
            return support.error(np.where(np.isnan(x), support.valid_value, x), name, where, first_row)
        first = position_of(bad.argmax(), x.shape, first_row)
        return ValueError(
            f"Expected {name} to be finite; received {x.flat[bad.argmax()]} at position {first}{where}, the first "
            f"of {int(bad.sum())} value(s) that are not finite."
        )
    return None if support is None else support.error(x, name, where, first_row)


def error_in_weights(weights):
    """The error that finite weights of examples, `[N]`, deserve, or None: none is below 0."""
    weights = np.asarray(weights)
    if weights.dtype.kind not in "if" or not (below := weights < 0.0).any():
        return None
    first = below.argmax()
    return ValueError(
        f"Expected sample_weight to be >= 0; received {weights.flat[first]} at position "
        f"{position_of(first, weights.shape)}, the first of {int(below.sum())} weight(s) below 0. An example of weight "
        "0 counts for nothing."
    )


def position_of(index, shape, first_row=0):
    """The place of a flat index in an array of this shape, a list, where its first row has this number."""
    place = [int(i) for i in np.unravel_index(index, shape)]
    return [place[0] + first_row, *place[1:]] if place else place


def pieces(array):
    """The rows of an array, piece by piece, each with the number of its first: as NumPy's, and not too many at once."""
    if not array.shape:
        yield 0, np.asarray(array)
        return
    size = max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize)
    step = max(1, AT_ONCE // size)
    for start in range(0, array.shape[0], step):
        yield start, np.asarray(array[start : start + step])


def missing_rows(array):
    """For each row of an array, whether all of it is NaN."""
    return _by_row(np.all, array)


def rows_with_holes(array):
    """For each row of an array, whether some of it is NaN."""
    return _by_row(np.any, array)


def _by_row(reduce, array):
    """`reduce` of whether each number is NaN, row by row."""
    distinct = getattr(array, "distinct_values", None)
    if distinct is not None and not np.isnan(distinct()).any():
        return np.zeros(len(array), bool)  # a sparse array, which need not be made dense for it
    found = [reduce(np.isnan(rows).reshape(len(rows), -1), axis=1) for _, rows in pieces(array)]
    return np.concatenate(found) if found else np.zeros(0, bool)


def without_nan(array):
    """An array with 0 in place of NaN."""
    return np.nan_to_num(array, nan=0.0) if array.dtype.kind == "f" else array
