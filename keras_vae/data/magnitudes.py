"""Data of a size on which networks do not train well: what is said of it, before training."""

import numpy as np

# A network's weights begin, and Adam's steps are, as if its inputs were about 1.
LARGE = 100.0
RATIO = 1000.0
FEW = 3  # columns that are named
MOST_ROWS = 1024  # that are looked at
MOST_NUMBERS = 2**22


def advice_on_size(array, name, support, columns=None):
    """What to say of numbers that are large, or of columns that lie orders of magnitude apart; None where all is well.

    It is said of numbers on the whole real line alone. What has ends has a size of its own.

    Args:
        array: `[N, *event]`, of which some rows are looked at.
        name: what to call it.
        support: a `Support`, or None where it is not scored.
        columns: names of the columns, if they have any.
    """
    if support is None or (support.low, support.high) != (-np.inf, np.inf) or not array.shape or not array.shape[0]:
        return None
    rows = some_rows(array)
    if array.ndim > 2:
        low, high = np.nanmin(rows, initial=0.0), np.nanmax(rows, initial=0.0)
        if low < 0 or not LARGE < high <= 255:
            return None
        return (
            f"{name} holds numbers up to {high:g}, on which networks do not train well. Pixels in 0..255? Scale them: "
            "x.astype('float32') / 255."
        )
    flat = rows.reshape(len(rows), -1)
    count = np.maximum(1, np.sum(~np.isnan(flat), axis=0))
    return _advice_on_columns(np.sqrt(np.nansum(np.square(flat), axis=0) / count), name, columns)


def _advice_on_columns(sizes, name, columns):
    """What to say of columns of these sizes, root mean squares; those of size 0 hold nothing else."""
    order = [index for index in np.argsort(-sizes, kind="stable") if sizes[index] > 0]
    if not order or sizes[order[0]] < LARGE:
        return None
    labels = [f"column {index}" for index in range(sizes.size)] if columns is None else [repr(each) for each in columns]

    def listed(indices):
        return ", ".join(f"{labels[index]} ({sizes[index]:.3g})" for index in indices)

    found = f"columns of {name} are as large as {listed(order[:FEW])}"
    if sizes[order[0]] > RATIO * sizes[order[-1]]:
        found = (
            f"columns of {name} lie orders of magnitude apart, from {listed(order[: -FEW - 1 : -1])} to "
            f"{listed(order[:FEW])}"
        )
    return (
        f"{found}: root mean squares. Networks do not train well on these, and may end in NaN. Standardise each "
        "column: (x - mean) / std. Or start the encoder with keras.layers.Normalization(), and call vae.adapt(x) first."
    )


def some_rows(array):
    """Rows of an array, evenly spaced, as float64 `[n, ...]`: enough to see how large they are."""
    size = max(1, int(np.prod(array.shape[1:])))
    step = max(1, array.shape[0] // max(1, min(MOST_ROWS, MOST_NUMBERS // size)))
    return np.asarray(array[::step] if isinstance(array, np.ndarray) else array[:MOST_ROWS]).astype("float64")
