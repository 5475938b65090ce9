"""Standard normal noise as a function of a seed and of where it is drawn: the same in every way to run a program."""

import functools
import math

from keras import ops

from keras_vae import backend

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA  # of the key schedule


def standard_normal(shape, seed, row_axis=0, first_row=0, dtype="float32"):
    """Draws from N(0, 1), each a function of the seed, its row, and its place in the row.

    Threefry-2x32 with 20 rounds makes a random word of row and place (Salmon et al., "Parallel random numbers: as easy
    as 1, 2, 3", SC 2011). The inverse of the normal distribution function makes the word normal. So a row's noise does
    not depend on how many rows there are or on which device draws it. It is the same in eager code, graphs and XLA
    programs, to rounding.

    Args:
        shape: of the draws, at least one axis; integers, or scalar integer tensors.
        seed: int32 `[2]`.
        row_axis: which axis counts rows.
        first_row: the number of the first row.
        dtype: "float32", whose draws are within 5.3, or "float64", within 8.3.

    Returns:
        A tensor of the given shape and dtype.
    """
    shape = ops.stack([ops.cast(size, "int32") for size in shape])
    return _program(row_axis, dtype, int(shape.shape[0]))(shape, seed, ops.cast(first_row, "int32"))


def standard_normal_rows(n, batch, event, seed, dtype="float32"):
    """`n` draws for each example of a batch, in which a row is an example: or a draw, where there is no batch.

    Args:
        n: how many.
        batch, event: shapes; of integers, or scalar integer tensors.
        seed: int32 `[2]`.
        dtype: "float32" or "float64".

    Returns:
        `[n, *batch, *event]`.
    """
    rows = [n, math.prod(batch), *event] if batch else [n, *event]
    row_axis, first_row = (1, backend.first_row()) if batch else (0, 0)
    return ops.reshape(standard_normal(rows, seed, row_axis, first_row, dtype), [n, *batch, *event])


def threefry(key, counter):
    """Threefry-2x32-20: two random uint32 words of a key of two words and a counter of two; counters broadcast."""

    def word(number):
        return ops.cast(number, "uint32")

    schedule = (*key, ops.bitwise_xor(ops.bitwise_xor(*key), word(PARITY)))
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            turned = ops.bitwise_or(ops.left_shift(y, word(rotation)), ops.right_shift(y, word(32 - rotation)))
            y = ops.bitwise_xor(turned, x)
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + word(group + 1)
    return x, y


@functools.lru_cache
def _program(row_axis, dtype, rank):
    """The program for draws of `rank` axes: one that had met several ranks would know none of its result."""

    @backend.xla_compile
    def program(shape, seed, first_row):
        index = ops.reshape(ops.arange(ops.prod(shape), dtype="int32"), shape)
        within, rows = ops.prod(shape[row_axis + 1 :]), shape[row_axis]
        row = (index // within) % rows + first_row
        place = index // (within * rows) * within + index % within
        key = (ops.cast(seed[0], "uint32"), ops.cast(seed[1], "uint32"))
        words = threefry(key, (ops.cast(row, "uint32"), ops.cast(place, "uint32")))
        # A hash and a polynomial of degree 8, of which many read the result: z's density, its gradient, sigma's.
        return backend.computed_once(math.sqrt(2.0) * ops.erfinv(_symmetric(words, dtype)), seed[0])

    return program


def _symmetric(words, dtype):
    """Uniform on (-1, 1), without its ends: an odd multiple of half the spacing of the numbers that `dtype` holds."""
    high = ops.cast(ops.right_shift(words[0], ops.cast(9, "uint32")), dtype)  # 23 bits
    if dtype == "float32":
        return (high + 0.5) * 2.0**-22 - 1.0
    low = ops.cast(ops.right_shift(words[1], ops.cast(4, "uint32")), dtype)  # 28 more
    return ((high * 2.0**28 + low) + 0.5) * 2.0**-50 - 1.0
