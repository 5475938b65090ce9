"""How steps run: a block of batches goes through one program, which carries weights, slots, metrics and seeds along.

Keras runs a program a step, and `steps_per_execution` of them in a loop around it. Here the loop is inside: with XLA,
nothing but the batches and the last logs passes between Python and the program.
"""

import itertools
import logging
import math

import keras
import tensorflow as tf

from keras_vae import datasets

logger = logging.getLogger("keras_vae")

# A block is long enough that what a call costs no longer shows, and short enough that progress does.
USUAL_STEPS = 25
MOST_STEPS = 64
MOST_BYTES = 2**25  # of the batches that are stacked
MOST_WORK = 2**32  # multiply-adds of the forward passes: some tenths of a second on two cores
LIKELY_BATCH_SIZE = 128  # where it is not known before training


class BlockFunction:
    """What Keras calls with an iterator of batches: runs `step` on the next `steps_per_execution` of them.

    A batch shape costs one compilation, and another where more batches come at once than before. The short last batch
    of an epoch has a program of its own, of one step; or, where one block is the whole epoch, is part of that block's.

    Args:
        model: whose `steps_per_execution` says how many batches a call takes.
        step: `train_step` or `test_step`: a batch to a dictionary of logs.
        jit_compile: whether a block is one XLA program, or TensorFlow runs it.
        fallback: Keras's own function of an iterator, for batches that cannot be stacked: ragged or sparse ones.
        make_ready: called with the first batch of a shape before it is run, to create what a loop cannot, or refuse it.
        labels: whether `step` looks at labels; else it is not given any.
    """

    def __init__(self, model, step, jit_compile, fallback, make_ready, labels=False):
        self.model = model
        self.make_ready = make_ready
        self.fallback = fallback
        self.labels = labels
        self.step = tf.function(step, autograph=False, reduce_retracing=True)
        self.program = tf.function(self._run, jit_compile=jit_compile, autograph=False, reduce_retracing=True)
        self.has_fallen_back = False
        self.latest = []  # what `program` was given in the last call, for whoever has to look into it
        self.ready = set()  # signatures of batches that have been looked at
        self.room = {}  # of a batch signature: for how many such batches its program has room

    def __call__(self, iterator):
        """The logs after the next block.

        Raises:
            StopIteration: there is no further batch.
        """
        logs, self.latest = None, []
        for block, steps, *rest in self._blocks(iterator):
            logs = self._fall_back(block) if steps is None else self._run_block(block, steps, *rest)
        if logs is None:
            raise StopIteration
        return logs

    @property
    def function_spec(self):
        """As a `tf.function` has it: by this and the next, TensorBoard finds the graph to draw."""
        return self.program.function_spec

    @property
    def _concrete_variable_creation_fn(self):
        return self.program._concrete_variable_creation_fn

    def _blocks(self, iterator):
        """The next `steps_per_execution` batches as stacks of batches alike, each with how many of them count.

        The short last batch of an epoch is a stack of its own; or, where one block is the whole epoch, comes with it.
        Batches that cannot be stacked come as a list, with None.
        """
        at_once = self.model.steps_per_execution
        elements = itertools.islice(iterator, at_once)
        first = next(elements, None)
        if isinstance(first, datasets.Block):  # all that one call takes
            steps, rest = int(first.steps), self._for_step(first.rest)
            block = self._with_room(self._for_step(first.batches), steps) if steps else None
            if steps and steps == _length(block) and _length(rest):  # elsewhere a block has room for one batch more
                yield block, steps, rest
            else:
                if steps:
                    yield block, steps
                if _length(rest):
                    yield rest, 1
        elif first is not None:
            batches = (self._for_step(_without_optionals(each)) for each in itertools.chain([first], elements))
            # All are fetched before any is run, so that data which cannot be had stops training between blocks.
            for signature, run in itertools.groupby(list(batches), _signature):
                run = list(run)
                if signature is None:
                    yield run, None
                else:
                    yield self._with_room(_map(lambda *parts: tf.stack(parts), *run), at_once), len(run)

    def _for_step(self, batch):
        """The batch as `step` takes it; labels may be what no program can hold: text, say."""
        if self.labels:
            return batch
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        return x, None, sample_weight

    def _with_room(self, block, most):
        """The block, padded to the room of a program that there is for such batches; or else one is made for it.

        The first block of a kind is the fullest, as a rule; where one is fuller, the next program has room for `most`;
        and for far fewer, as where each batch is watched, there is one of their own.
        """
        kind = _signature(block, axis=1)
        size = _length(block)
        if self.room.get(kind, size) > 4 * size:
            kind = (*kind, size)
        room = self.room.setdefault(kind, size)
        if size > room:
            room = self.room[kind] = max(size, most)
        if size == room:
            return block
        return _map(lambda part: tf.concat([part, tf.repeat(part[-1:], room - size, 0)], 0), block)

    def _run_block(self, block, steps, *rest):
        kind = _signature(block, axis=1)
        if kind not in self.ready:
            self.make_ready(_map(lambda part: part[0], block))
            self.ready.add(kind)
        self.latest.append((block, steps, *rest))
        return self.program(block, tf.constant(steps), *rest)

    def _fall_back(self, batches):
        if not self.has_fallen_back:
            self.has_fallen_back = True
            logger.warning("Batches of ragged or sparse tensors: stepping one by one, by Keras's own step function.")
        for batch in batches:
            logs = self.fallback(iter([batch]))
        return logs

    def _run(self, block, steps, rest=None):
        first = _map(lambda part: part[0], block)
        logs = self.step.get_concrete_function(first).structured_outputs
        logs = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), logs)

        def run_one(index, _):
            return index + 1, self.step(_map(lambda part: part[index], block))

        _, logs = tf.while_loop(lambda index, _: index < steps, run_one, [0, logs], parallel_iterations=1)
        return logs if rest is None else self.step(_map(lambda part: part[0], rest))


def steps_at_once(feed, example_work, bounds=(), before=None):
    """How many steps a block has: as before, or near the usual, dividing every bound, and dividing the epoch best.

    Args:
        feed: what is known of the batches: `keras_vae.feeding.Feed`.
        example_work: multiply-adds of a forward pass on one example.
        bounds: numbers of steps to be kept to exactly, as `steps_per_epoch`; None where there is no such bound.
        before: how many there were the last time, for which programs exist; None if there was none.
    """
    if feed.example_size is None:
        return 1
    batch_size = feed.batch_size or LIKELY_BATCH_SIZE
    by_size = MOST_BYTES // max(1, 4 * batch_size * feed.example_size)
    by_work = MOST_WORK // max(1, batch_size * example_work)
    bound = math.gcd(*(steps for steps in bounds if steps))  # 0, which everything divides, if there is none
    most = max(1, min(MOST_STEPS, by_size, by_work, feed.num_batches or MOST_STEPS))
    fitting = [steps for steps in range(1, most + 1) if bound % steps == 0]
    usual = min(fitting[-1], USUAL_STEPS)
    near = [steps for steps in fitting if 2 * steps >= usual]
    if before in near:
        return before
    # What the last block has too few: Keras counts it all the same.
    return min(near, key=lambda steps: (-(feed.num_batches or 0) % steps, abs(steps - usual)))


def asks_for_batches(callback, phases=("train", "test")):
    """Whether a callback does anything at the batches of these phases, and so must see each of them."""
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
        callbacks.TensorBoard: lambda: (
            not (
                callback.update_freq != "epoch"
                or callback.write_steps_per_second
                or getattr(callback, "_should_trace", True)
            )
        ),
    }
    for name in hooks:
        owner = next(owner for owner in kind.__mro__ if name in vars(owner))
        makes_do = "takes_blocks" in vars(owner)  # ours, with the end of each block
        if owner is not callbacks.Callback and not makes_do and not (owner in idle and idle[owner]()):
            return True
    return False


def _map(function, *batches):
    """`function` of the tensors of batches, leaf by leaf; what is None stays None."""
    return keras.tree.map_structure(lambda *parts: None if parts[0] is None else function(*parts), *batches)


def _length(block):
    """How many batches a stack of them holds."""
    return keras.tree.flatten(block)[0].shape[0]


def _without_optionals(batch):
    """A batch with None for what `tf.data` wraps in an optional, as Keras does for a generator's None."""
    return _map(lambda part: None if isinstance(part, tf.experimental.Optional) else part, batch)


def _signature(batch, axis=0):
    """What batches that can be stacked have in common, from this axis on, or None for a batch that cannot be."""
    parts = [part for part in keras.tree.flatten(batch) if part is not None]
    if any(isinstance(part, (tf.RaggedTensor, tf.SparseTensor)) for part in parts):
        return None
    return tuple((tuple(part.shape[axis:]), part.dtype) for part in parts)
