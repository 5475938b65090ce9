"""How many batches a block holds: enough that a call's cost no longer shows, few enough that progress does."""

import math

import keras

from keras_vae import compat

USUAL_BATCHES = 25
MOST_BATCHES = 64
MOST_BYTES = 2**25  # of the batches that are stacked
MOST_WORK = 2**32  # multiply-adds of the forward passes: some tenths of a second on two cores
LIKELY_BATCH_SIZE = 128  # where it is not known before training


def batches_per_block(feed, example_work, bounds=(), before=None):
    """How many batches a block holds: as before, or near the usual, dividing every bound, and dividing the epoch best.

    Args:
        feed: what is known of the batches: a `keras_vae.engine.feeding.Feed`.
        example_work: multiply-adds of a forward pass on one example.
        bounds: numbers of batches to be kept to exactly, as `steps_per_epoch`; None where there is no such bound.
        before: how many there were the last time, for which programs exist; None if there was none.
    """
    if feed.example_size is None:
        return 1
    batch_size = feed.batch_size or LIKELY_BATCH_SIZE
    by_size = MOST_BYTES // max(1, 4 * batch_size * feed.example_size)
    by_work = MOST_WORK // max(1, batch_size * example_work)
    bound = math.gcd(*(steps for steps in bounds if steps))  # 0, which everything divides, if there is none
    most = max(1, min(MOST_BATCHES, by_size, by_work, feed.num_batches or MOST_BATCHES))
    fitting = [size for size in range(1, most + 1) if bound % size == 0]
    usual = min(fitting[-1], USUAL_BATCHES)
    near = [size for size in fitting if 2 * size >= usual]
    if before in near:
        return before
    # What the last block has too few: Keras counts it all the same.
    return min(near, key=lambda size: (-(feed.num_batches or 0) % size, abs(size - usual)))


def asks_for_batches(callback, phases=("train", "test")):
    """Whether a callback does anything at the batches of these phases, and so must see each of them.

    A callback with `takes_blocks = True` makes do with the end of each block.
    """
    callbacks = keras.callbacks
    if isinstance(callback, (callbacks.CallbackList, list, tuple)):
        return any(asks_for_batches(each, phases) for each in getattr(callback, "callbacks", callback))
    kind = type(callback)
    hooks = [f"on_{phase}_batch_{moment}" for phase in phases for moment in ("begin", "end")]
    if "train" in phases:
        hooks += ["on_batch_begin", "on_batch_end"]
    if any(name in vars(callback) for name in hooks):  # a LambdaCallback's
        return True
    # Of Keras's own, those that look at batches only if they are told to.
    idle = {
        callbacks.ProgbarLogger: lambda: True,
        callbacks.ModelCheckpoint: lambda: callback.save_freq == "epoch",
        callbacks.BackupAndRestore: lambda: callback.save_freq == "epoch",
        callbacks.TensorBoard: lambda: not compat.asks_for_batches(callback),
    }
    for name in hooks:
        owner = next(owner for owner in kind.__mro__ if name in vars(owner))
        if owner is callbacks.Callback or "takes_blocks" in vars(owner):
            continue
        if not (owner in idle and idle[owner]()):
            return True
    return False
