"""How steps run on one device: a block of batches goes through one program, which carries all state along.

Keras runs a program a step, and `steps_per_execution` of them in a loop around it. Here the loop is inside: with XLA,
nothing but the batches and the last logs passes between Python and the program.
"""

import itertools
import logging
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_vae import backend, compat

logger = logging.getLogger("keras_vae")


class Block(NamedTuple):
    """Several batches, one after another.

    Attributes:
        batches: a structure of tensors `[capacity, batch size, ...]`.
        num_batches: how many of them count; those beyond repeat a row.
        rest: the short batch that ends an epoch, the same structure, `[1, rows, ...]`; None where there is none.
    """

    batches: Any
    num_batches: int
    rest: Any = None


class BlockFunction(compat.GraphOf):
    """What Keras calls with an iterator of batches or blocks: runs a step on the next `steps_per_execution` batches.

    A batch shape costs one compilation, and another where more batches come at once than before. The rest of an epoch
    has a program of its own, of one step. Where one block is the whole epoch, the rest is part of that block's program.

    Args:
        model: whose `steps_per_execution` says how many batches a call takes.
        step: `train_step` or `test_step`: a batch to a dictionary of logs.
        jit_compile: whether a block is one XLA program, or TensorFlow runs it.
        fallback: Keras's own function of an iterator, for batches that cannot be stacked: ragged or sparse ones.
        make_ready: called with the first batch of a shape before it is run, to create what a loop cannot, or refuse it.
        labels: whether `step` looks at labels; else it is not given any.

    Attributes:
        program: the `tf.function` that runs a block: `program(batches, num_batches)`, and its rest, if it has one.
        last_blocks: the `Block`s of the last call, for whoever has to look into it.
    """

    def __init__(self, model, step, jit_compile, fallback, make_ready, labels=False):
        self.model = model
        self.make_ready = make_ready
        self.fallback = fallback
        self.labels = labels
        self.step = backend.program(step)
        self.program = backend.program(self._run, jit_compile=jit_compile)
        self.has_fallen_back = False
        self.last_blocks = []
        self.ready = set()  # signatures of batches that have been looked at
        self.capacities = {}  # of a batch signature: for how many such batches its program has room

    def __call__(self, iterator):
        """The logs after the next batches.

        Raises:
            StopIteration: there is no further batch.
        """
        logs, self.last_blocks = None, []
        for each in self._next(iterator):
            if isinstance(each, Block):
                logs = self.run(each)
                self.last_blocks.append(each)
            else:
                logs = self._fall_back(each)
        if logs is None:
            raise StopIteration
        return logs

    def run(self, block):
        """The logs after a block."""
        signature = _signature(block.batches, axis=1)
        if signature not in self.ready:
            self.make_ready(_map(lambda part: part[0], block.batches))
            self.ready.add(signature)
        rest = () if block.rest is None else (block.rest,)
        return self.program(block.batches, tf.constant(block.num_batches), *rest)

    def _next(self, iterator):
        """The next `steps_per_execution` batches as `Block`s, each of batches alike.

        Batches that cannot be stacked come as a list.
        """
        elements = itertools.islice(iterator, self.model.steps_per_execution)
        first = next(elements, None)
        if isinstance(first, Block):  # all that one call takes
            yield from self._fitted(first)
        elif first is not None:
            batches = (self._for_step(_without_optionals(each)) for each in itertools.chain([first], elements))
            # All are fetched before any is run, so that data which cannot be had stops training between blocks.
            for signature, alike in itertools.groupby(list(batches), _signature):
                alike = list(alike)
                if signature is None:
                    yield alike
                else:
                    stacked = _map(lambda *parts: tf.stack(parts), *alike)
                    most = self.model.steps_per_execution
                    yield Block(self._filled_up(stacked, most), len(alike))

    def _fitted(self, block):
        """A block as there is a program for: its rest apart, unless the block is the whole epoch."""
        batches, num_batches, rest = self._for_step(block.batches), block.num_batches, block.rest
        rest = None if rest is None else self._for_step(rest)
        if num_batches:
            batches = self._filled_up(batches, num_batches)
        if num_batches and rest is not None and num_batches == _length(batches):
            yield Block(batches, num_batches, rest)
            return
        if num_batches:  # elsewhere a block has room for one batch more
            yield Block(batches, num_batches)
        if rest is not None:
            yield Block(rest, 1)

    def _for_step(self, batch):
        """The batch as `step` takes it; labels may be what no program can hold: text, say."""
        if self.labels:
            return batch
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        return x, None, sample_weight

    def _filled_up(self, batches, most):
        """Stacked batches, with rows repeated up to the capacity of a program that there is for such batches.

        The first block of a kind is the fullest, as a rule. Where one is fuller, the next program has room for `most`.
        For far fewer, as where each batch is watched, there is a program of their own.
        """
        kind = _signature(batches, axis=1)
        size = _length(batches)
        if self.capacities.get(kind, size) > 4 * size:
            kind = (*kind, size)
        capacity = self.capacities.setdefault(kind, size)
        if size > capacity:
            capacity = self.capacities[kind] = max(size, most)
        if size == capacity:
            return batches
        return _map(lambda part: tf.concat([part, tf.repeat(part[-1:], capacity - size, 0)], 0), batches)

    def _fall_back(self, batches):
        if not self.has_fallen_back:
            self.has_fallen_back = True
            logger.warning("Batches of ragged or sparse tensors: stepping one by one, by Keras's own step function.")
        for batch in batches:
            logs = self.fallback(iter([batch]))
        return logs

    def _run(self, batches, num_batches, rest=None):
        first = _map(lambda part: part[0], batches)
        logs = self.step.get_concrete_function(first).structured_outputs
        logs = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), logs)

        def run_one(index, _):
            return index + 1, self.step(_map(lambda part: part[index], batches))

        _, logs = tf.while_loop(lambda index, _: index < num_batches, run_one, [0, logs], parallel_iterations=1)
        return logs if rest is None else self.step(_map(lambda part: part[0], rest))


def _map(function, *batches):
    """`function` of the tensors of batches, leaf by leaf; what is None stays None."""
    return keras.tree.map_structure(lambda *parts: None if parts[0] is None else function(*parts), *batches)


def _length(batches):
    """How many batches a stack of them holds."""
    return keras.tree.flatten(batches)[0].shape[0]


def _without_optionals(batch):
    """A batch with None for what `tf.data` wraps in an optional, as Keras does for a generator's None."""
    return _map(lambda part: None if isinstance(part, tf.experimental.Optional) else part, batch)


def _signature(batch, axis=0):
    """What batches that can be stacked have in common, from this axis on, or None for a batch that cannot be."""
    parts = [part for part in keras.tree.flatten(batch) if part is not None]
    if any(isinstance(part, (tf.RaggedTensor, tf.SparseTensor)) for part in parts):
        return None
    return tuple((tuple(part.shape[axis:]), part.dtype) for part in parts)
