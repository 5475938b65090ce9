"""What this library needs of Keras, TensorFlow and TFP that they do not make public: each behind a function of its own.

Every release of theirs may change these, so nothing else of the library names a private part of theirs, which a test
asserts. Another test calls each.
"""

import contextlib
import weakref

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.stateless_scope import in_stateless_scope as in_stateless_scope
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter as DataAdapter
from tensorflow.python.framework import ops
from tensorflow_probability.python.distributions import kullback_leibler

class_weights_of = data_adapter_utils.class_weight_to_sample_weights  # y `[N]` and a dictionary: weights `[N]`
WITHIN_FIT = "_use_cached_eval_dataset"  # what `fit` hands to `evaluate` where it validates


class Model(keras.Model):
    """`keras.Model`, with names for two things that it does in private."""

    def builds_from_data(self):
        """Whether Keras is to build what is not built yet from the first batch of a distributed data set."""
        return True

    def epoch_logs(self, logs):
        """What an epoch reports, from the last step's logs; None for what Keras computes from the metrics."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if self.builds_from_data():
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def _get_metrics_result_or_logs(self, logs):
        found = self.epoch_logs(logs)
        if found is None:
            return super()._get_metrics_result_or_logs(logs)
        # As Keras gives them, older Keras too: numbers of Python's.
        return {name: value if tuple(np.shape(value)) else float(value) for name, value in found.items()}


def in_call():
    """Whether a Keras layer is being called, here and now: what is called within inherits whether it trains."""
    return get_global_attribute("current_call_ctx") is not None


def outermost_layer():
    """The layer, or model, whose call is the outermost here and now; None outside any."""
    context = get_global_attribute("current_call_ctx")
    return None if context is None else context.entry_layer


@contextlib.contextmanager
def losses_kept(layer):
    """Within, a layer and all that are in it may be called: the losses that they had added before are theirs again."""
    before = [(each, list(each._losses), set(each._loss_ids)) for each in layers_of(layer)]
    try:
        yield
    finally:
        layer._clear_losses()
        for each, losses, ids in before:
            each._losses.extend(losses)
            each._loss_ids.update(ids)


def layers_of(layer, include_self=True):
    """A layer and all that are in it, to any depth, each once, as a list."""
    return list(layer._flatten_layers(include_self=include_self))


def replace_layer(owner, name, layer):
    """Puts a layer in place of another, also in an owner that is built, to which Keras would have none added."""
    tracker, is_locked = owner._tracker, owner._tracker.locked
    tracker.unlock()
    tracker.untrack(getattr(owner, name))
    keras.Model.__setattr__(owner, name, layer)
    tracker.locked = is_locked


def seed_generators_of(layer):
    """The `SeedGenerator`s that a layer owns itself."""
    return layer._seed_generators


def is_draw_count(variable):
    """Whether a variable is a `SeedGenerator`'s: a key, and how many seeds were drawn."""
    return variable.name == "seed_generator_state"


def build_from_batch(model, batch):
    """Builds a model, its metrics and its optimizer by a symbolic step on a batch `(x, y, sample_weight)`."""
    model._symbolic_build(data_batch=batch)


def compiled_metrics_of(model):
    """The container of what `compile(metrics=...)` was given, or None."""
    return model._compile_metrics


def loss_tracker_of(model):
    """The metric that averages the loss."""
    return model._loss_tracker


def accept_any_argument(layer):
    """Lets a layer be called on what is no tensor, such as a distribution."""
    layer._allow_non_tensor_positional_args = True


def step_count_of(optimizer):
    """The variable that counts an optimizer's calls, accumulated or not."""
    return optimizer._iterations


def learning_rate_of(optimizer):
    """The learning rate as an optimizer was given it: a variable, or a schedule."""
    return getattr(optimizer, "_learning_rate", None)


def distribute_optimizer(optimizer, strategy):
    """Lets an optimizer that was made outside a strategy's scope work as if it was made in it."""
    if not optimizer.built:
        optimizer._distribution_strategy = strategy


def apply_summed_gradients(optimizer, gradients, variables, strategy):
    """Applies gradients that are already the sums over all replicas, outside of `strategy.run`."""
    # Keras has a loss-scaling optimizer called on replicas only, each to decide whether the sum is finite.
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    extended = strategy.extended
    # Keras's optimizers do now what they otherwise leave a replica for.
    extended._use_merge_call = lambda: False
    try:
        (optimizer._common_apply if scales else optimizer.apply)(gradients, variables)
    finally:
        del extended._use_merge_call


def patch_tf2onnx():
    """Readies the package tf2onnx for NumPy 2, as Keras's own export does."""
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    patch_tf2onnx()


class GraphOf:
    """Lets Keras's `TensorBoard` draw the graph of `self.program`, a `tf.function`."""

    @property
    def function_spec(self):
        return self.program.function_spec

    @property
    def _concrete_variable_creation_fn(self):
        return self.program._concrete_variable_creation_fn


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's, with names for what it does in private. Where `writes()` is False it writes nothing."""

    def writes(self):
        """Whether this process is one that writes."""
        return True

    def train_writer(self):
        """The summary writer of the run `train`."""
        return self._train_writer

    def validation_writer(self):
        """The summary writer of the run `validation`."""
        return self._val_writer

    def writer_of(self, name, folder):
        """The summary writer of another run, in a folder; Keras closes it with its own."""
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(folder)
        return self._writers[name]

    def train_folder(self):
        """The folder of the run `train`."""
        return self._train_dir

    def write_graph_of_training(self):
        """Writes the graph of a training step."""
        super()._write_keras_model_train_graph()

    @property
    def _train_writer(self):
        return super()._train_writer if self.writes() else tf.summary.create_noop_writer()

    @property
    def _val_writer(self):
        return super()._val_writer if self.writes() else tf.summary.create_noop_writer()

    def _start_trace(self):
        if self.writes():
            super()._start_trace()

    def _write_keras_model_train_graph(self):
        self.write_graph_of_training()


def asks_for_batches(callback):
    """Whether a `keras.callbacks.TensorBoard` does anything at the end of a batch."""
    traces = getattr(callback, "_should_trace", True)
    return bool(callback.update_freq != "epoch" or callback.write_steps_per_second or traces)


def hold_gradients(graph, operations=None):
    """Lets go of the gradients of one's own that operations of a graph have, when the graph is let go of.

    TensorFlow registers such gradients for good. Each holds the graph that it was made in, and so a model's programs.
    Keras's optimizers have some, TFP's distributions, and the loss ops.

    Args:
        operations: those to look at; by default all.
    """
    for operation in operations or graph.get_operations():
        if operation.type == "IdentityN" and "_gradient_op_type" in operation.node_def.attr:
            _hold_gradient(operation)


def _hold_gradient(operation):
    graph, name = operation.graph, operation.get_attr("_gradient_op_type").decode()
    if not hasattr(graph, "held_gradients"):
        graph.held_gradients = {}
    entry = ops.gradient_registry._registry[name]
    if name not in graph.held_gradients and not hasattr(entry["type"], "is_held"):
        graph.held_gradients[name] = entry["type"]
        holder = weakref.ref(graph)

        def gradient(op, *upstream):
            return holder().held_gradients[name](op, *upstream)

        gradient.is_held = True
        entry["type"] = gradient


def broadcast_axes(shape, broadcast):
    """The axes along which a tensor of `shape` is repeated when it is broadcast: int32 tensors, found when run."""
    _, axes = tf.raw_ops.BroadcastGradientArgs(s0=broadcast, s1=shape)
    return axes


def copies_of(variables):
    """The values of Keras variables, in memory of their own: a program may write over a variable's."""
    return [tf.raw_ops.DeepCopy(x=each.value) for each in variables]


def untracked(module, value):
    """A value that a `tf.Module`, as every distribution is one, keeps as it is: not wrapped, not searched."""
    return module._no_dependency(value)


def registered_kl(kind, other):
    """TFP's function of two distributions of these classes to their KL, or a class's own; None where there is none."""
    own = kind._kl_divergence
    return kullback_leibler._registered_kl(kind, other) if own is tfp.distributions.Distribution._kl_divergence else own


def set_parameters(distribution, parameters):
    """Sets what a distribution may be copied and sliced from: its constructor's arguments, by name."""
    distribution._parameters = untracked(distribution, parameters)


def set_parameter_properties(cls, properties):
    """Says of a distribution class how each of its parameters is shaped: `tfp.util.ParameterProperties`, by name."""
    cls._parameter_properties = classmethod(lambda cls, dtype, num_classes=None: properties)


class _Symbolic(keras.layers.Layer):
    """A layer of one function."""

    def __init__(self, function):
        super().__init__(autocast=False)
        self.function = function

    def call(self, x):
        self.function(x)
        hold_gradients(tf.compat.v1.get_default_graph())
        return keras.tree.flatten(x)[0]


def symbolically(function, x):
    """Calls a function of x with symbolic tensors: all that it creates is created, and nothing is computed.

    Args:
        x: a `KerasTensor`, or a structure of them.
    """
    try:
        _Symbolic(function).compute_output_spec(x)
    except Exception as error:
        # Keras, in its `except`, buries the message in advice to implement `compute_output_spec`.
        raise (error.__context__ or error) from None
