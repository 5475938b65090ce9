"""Finds where a number that is not finite came from: by running the last batches again, from the state before them."""

import contextlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_vae import backend, compat
from keras_vae.backend import tfd


class Frame(NamedTuple):
    """A call of the step function.

    Attributes:
        state: of all variables, from before it.
        batch: the number of its first batch in the epoch.
        blocks: the `Block`s that it ran.
    """

    state: list
    batch: int
    blocks: list


class Replay:
    """Keeps the state from before each block of batches, and the block, and runs them again when a term is not finite.

    Of blocks it keeps the last two, since a gradient that is not finite shows in the terms of the batch that follows.

    Args:
        model: a `VAE` in `fit`.
    """

    def __init__(self, model):
        self.model = model
        self.frames = []
        self.variables, self.read = [], None

    def before(self, batch):
        """Keeps the state from before this batch of an epoch."""
        if self.model.engine.last_blocks() is None or not self.model.built:
            return  # steps that run one by one, or none yet
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        owners = self.model, self.model.optimizer
        variables = [variable for owner in owners for variable in owner.variables] + self.model.metrics_variables
        if len(variables) != len(self.variables):
            self.variables, self.frames = variables, []
            self.read = backend.program(lambda: compat.copies_of(variables))
        # Not across epochs: what lies between is not run again.
        self.frames = [*self.frames[-1:], Frame(self.read(), batch, [])] if batch else [Frame(self.read(), batch, [])]

    def after(self):
        """Keeps the batches that were run."""
        if self.frames:
            self.frames[-1].blocks.extend(self.model.engine.last_blocks())

    def explain(self, put_back):
        """Where it came from, in words; None where the batches cannot be run again.

        Args:
            put_back: whether to leave the model in the state from before the batch at fault, else as it is.
        """
        if not self.frames or not self.frames[-1].blocks:
            return None
        now = self.read()
        try:
            return self._explain()
        finally:
            if not put_back:
                self._set(now)

    def _explain(self):
        steps = [step for frame in self.frames for step in steps_of(frame.blocks)]
        first = self.frames[0].batch
        good = self._good_steps(len(steps))
        self._run(good)
        if self.has_finite_weights():
            if good == len(steps):
                return None
            return f"batch {first + good}: {self._unchanged(self._look_forward, steps[good])}"
        if good == 0:
            return f"batch {first}, whose weights were not finite to begin with."
        self._run(good - 1)
        found = self._unchanged(self._look_back, steps[good - 1])
        return f"after batch {first + good - 1}, all of whose terms are finite, {found}"

    def has_finite_weights(self):
        return all_finite(variable.value for variable in self.model.trainable_variables)

    def _good_steps(self, size):
        """After how many steps all terms are finite still, and after one more, if there is one, not."""
        low, high = 0, size + 1
        while high - low > 1:
            middle = (low + high) // 2
            if middle <= size and self._run(middle):
                low = middle
            else:
                high = middle
        return low

    def _run(self, steps):
        """Runs so many steps from the first state on; whether all terms, as averaged since, are finite."""
        self._set(self.frames[0].state)
        logs = {}
        for block in (block for frame in self.frames for block in frame.blocks):
            if steps <= 0:
                break
            size = block.num_batches
            part = block._replace(num_batches=min(steps, size), rest=block.rest if steps > size else None)
            logs = self.model.engine.run_again(part)
            steps -= size + (block.rest is not None)
        return all(np.isfinite(np.asarray(logs[name])) for name in self.model.objective.term_weights if name in logs)

    def _unchanged(self, look, x):
        """What `look` finds in a batch, with the state put back: to look is to draw noise, and to count."""
        state = self.read()
        try:
            return look(x)
        finally:
            self._set(state)

    def _set(self, state):
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)

    def _look_forward(self, x):
        """Which terms of a batch are not finite, and which layer's output is the first that is not."""
        if not all_finite(tensors_of(x)):
            return "x itself is not finite, and nothing that comes of it can be."
        with backend.uncompiled(), watched(self.model) as bad:
            outputs = self.model(x, training=True)
        terms = [name for name in self.model.objective.term_weights if not all_finite([outputs[name]])]
        if not terms:
            highest = {name: float(np.max(np.abs(outputs[name]))) for name in self.model.objective.term_weights}
            name = max(highest, key=highest.get)
            return f"a term not finite: of each example all are, run again, with {name} as high as {highest[name]:.3g}."
        found = f"{' and '.join(terms)} not finite: "
        if bad:
            return found + f"the first output that is not is that of layer {bad[0].name!r}, a {type(bad[0]).__name__}."
        return found + "all layers' outputs are, but what the likelihood makes of them is not."

    def _look_back(self, x):
        """Which weight's gradient on a batch is not finite, the one nearest to the loss."""
        variables = self.model.trainable_variables

        # Compiled as the step is: XLA's gradients are not TensorFlow's where a product of 0 and infinity is in one.
        @tf.function(jit_compile=self.model.jit_compile, autograph=False)
        def gradients(x):
            with tf.GradientTape() as tape:
                self.model(x, training=True)
                loss = sum(self.model.losses)
            return tape.gradient(loss, [variable.value for variable in variables])

        pairs = zip(variables, gradients(x), strict=True)
        bad = [variable.path for variable, each in pairs if each is not None and not all_finite([each])]
        if bad:
            return f"a gradient not finite: that of {len(bad)} weights, of which {bad[-1]!r} is nearest to the loss."
        return "a step that left weights which are not finite, of gradients that are."


def steps_of(blocks):
    """x of each batch that was run."""
    for block in blocks:
        rest = [] if block.rest is None else [(block.rest, 0)]
        for stack, index in [(block.batches, index) for index in range(block.num_batches)] + rest:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(stack)
            yield keras.tree.map_structure(lambda part, index=index: part[index], x)


@contextlib.contextmanager
def watched(model):
    """A list that fills, within, with the layers whose outputs are not finite, in the order in which they are made."""
    bad = []
    layers = compat.layers_of(model, include_self=False)

    def watch(layer, call):
        def watching(*args, **kwargs):
            output = call(*args, **kwargs)
            if not all_finite(tensors_of(output)):
                bad.append(layer)
            return output

        return watching

    for layer in layers:
        # Beside Keras's tracking, as a method is no part of the model.
        vars(layer)["call"] = watch(layer, layer.call)
    try:
        yield bad
    finally:
        for layer in layers:
            del vars(layer)["call"]


def tensors_of(output):
    """The tensors that a layer's output is made of: of a distribution, its parameters."""
    if isinstance(output, tfd.Distribution):
        for parameter in output.parameters.values():
            yield from tensors_of(parameter)
    elif isinstance(output, (dict, list, tuple)):
        for part in output.values() if isinstance(output, dict) else output:
            yield from tensors_of(part)
    elif tf.is_tensor(output) and output.dtype.is_floating:
        yield output


def all_finite(tensors):
    return all(np.isfinite(np.asarray(tf.convert_to_tensor(tensor))).all() for tensor in tensors)
