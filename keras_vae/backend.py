"""What the library needs of the backend, TensorFlow: its TFP, its random seeds, its XLA compiler.

`compat`, `sums`, `engine`, `data`, `export` and `callbacks` know TensorFlow too. All else is written in `keras.ops` and
TFP's common interface.
"""

import contextlib
import functools
import inspect
import threading

import keras
import numpy as np

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_vae runs on Keras's TensorFlow backend. Expected KERAS_BACKEND=tensorflow; "
        f"received KERAS_BACKEND={keras.backend.backend()}. Set it before the first `import keras`."
    )

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae import compat
from keras_vae.checks import check_seed

tfd = tfp.distributions

ON_CPU = not tf.config.get_visible_devices("GPU")

# Where, and how, this thread runs a program.
_place = threading.local()


def program(function, jit_compile=None, input_signature=None):
    """`function` as a `tf.function`: traced once for each kind of arguments, compiled with XLA if `jit_compile`."""
    # As a partial, it has no code that it shares with other models': TensorFlow counts tracings by that, and warns.
    own = functools.partial(_traced, function)
    own.__name__ = getattr(function, "__name__", "program")
    own.__signature__ = inspect.signature(function)
    return tf.function(
        own,
        jit_compile=jit_compile,
        autograph=False,
        reduce_retracing=True,
        input_signature=input_signature,
    )


def _traced(function, *args, **kwargs):
    """What `function` returns, in a graph that takes its gradients with it when it goes."""
    value = function(*args, **kwargs)
    if not tf.executing_eagerly():
        compat.hold_gradients(tf.compat.v1.get_default_graph())
    return value


def xla_compile(function):
    """Compiles `function` with XLA: a program of its own in eager and graph code, inlined in an outer program."""
    compiled, plain = program(function, jit_compile=True), program(function)

    def call(*operands):
        if not getattr(_place, "is_uncompiled", False):
            return compiled(*operands)
        # A graph has it traced once for all; what runs but once here and now is not worth tracing.
        return (function if tf.executing_eagerly() else plain)(*operands)

    return call


def computed_once(value, number):
    """`value`, which an XLA program on a CPU computes once and keeps, however many of its loops read it.

    XLA would compute in each loop what it takes for cheap. A branch that it cannot foresee keeps it from doing so.

    Args:
        value: a tensor.
        number: an int32 scalar that is known when the program runs, and not before.
    """
    # On a GPU a branch makes the host wait; and without XLA there is nothing to prevent.
    if not ON_CPU or getattr(_place, "is_uncompiled", False):
        return value
    return tf.cond(tf.bitwise.bitwise_or(number, 1) != 0, lambda: value, lambda: tf.zeros_like(value))  # always true


def custom_gradient(function):
    """Keras's, of a function that returns its value and its gradient."""
    with_gradient = keras.ops.custom_gradient(function)

    def call(*operands):
        if getattr(_place, "is_exporting", False):
            return function(*operands)[0]
        value = with_gradient(*operands)
        if not tf.executing_eagerly():
            first = keras.tree.flatten(value)[0]
            compat.hold_gradients(first.graph, [first.op])
        return value

    return call


def value_and_slope(function, x):
    """What `function` gives for x, `[*batch]`, and its derivative by x: 0 where it does not depend on it."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return value, tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)


@custom_gradient
def with_slope(x, value, slope):
    """`value`, `[*batch]`, whose gradient reaches x, `[*batch, ...]`, alone, by a slope that is taken as it is."""

    def gradient(*args, upstream=None):
        (of_value,) = args if upstream is None else upstream
        of_value = tf.reshape(of_value, tf.concat([tf.shape(of_value), [1] * (slope.shape.rank - value.shape.rank)], 0))
        return tf.cast(of_value, slope.dtype) * slope, None, None

    return value, gradient


@contextlib.contextmanager
def exporting():
    """Within, and on this thread, graphs are for a runtime that may have no XLA, and asks for no gradients."""
    with _set("is_exporting"), uncompiled():
        yield


def uncompiled():
    """Within, and on this thread, ops are no XLA programs of their own, which take a while to compile."""
    return _set("is_uncompiled")


def specifying():
    """Within, and on this thread, passes are symbolic: they create and check what there is, and compute nothing."""
    return _set("is_specifying")


def is_specifying():
    """Whether this is within `specifying`."""
    return getattr(_place, "is_specifying", False)


@contextlib.contextmanager
def _set(flag):
    before = getattr(_place, flag, False)
    setattr(_place, flag, True)
    try:
        yield
    finally:
        setattr(_place, flag, before)


def runs_eagerly():
    """Whether operations run one by one, here and now, as they are called: where a program may run in their place."""
    is_plain = tf.executing_eagerly() and not tf.config.functions_run_eagerly() and not compat.in_stateless_scope()
    return is_plain and not compat.in_call() and not getattr(_place, "is_uncompiled", False)


def is_tracing():
    """Whether a program is being traced, here and now: variables have no numbers yet."""
    return not tf.executing_eagerly()


def traced(function, shape, dtype):
    """What `function` returns for a symbolic tensor of this shape, in which None is unknown."""
    returned = []
    trace = tf.function(lambda tensor: returned.append(function(tensor)), autograph=False)
    trace.get_concrete_function(tf.TensorSpec(shape, dtype))
    return returned[0]


def lgamma(x):
    """log of the gamma function, elementwise: Keras has none."""
    return tf.math.lgamma(x)


def digamma(x):
    """The derivative of `lgamma`."""
    return tf.math.digamma(x)


def searchsorted(ends, points):
    """How many of the ends, `[N]` and sorted, are not above each point, `[M]`: older Keras wants N known beforehand."""
    return tf.searchsorted(ends, points, side="right")


def stateless_seed(source):
    """The next seed of a `SeedGenerator`, or the one that an integer stands for: int32 [2], as TFP takes it."""
    if isinstance(source, keras.random.SeedGenerator):
        # Keras keeps int64 or uint32 state.
        return tf.cast(source.next(), tf.int32)
    if tf.is_tensor(source):
        source = tf.cast(source, tf.int64)
        words = tf.math.floormod(source, 2**31), tf.math.floormod(tf.math.floordiv(source, 2**31), 2**31)
        return tf.cast(tf.stack(words), tf.int32)
    check_seed(source)
    number = source.__index__()
    return tf.constant([number % 2**31, number // 2**31 % 2**31], tf.int32)


# One seed has a stream for each purpose: no two draw the same noise.
STREAMS = ("posterior", "reconstruction", "prior", "event", "elbo", "importance", "objective")


def seed_for(seed, purpose):
    """The seed of a stream, one of `STREAMS`."""
    return fold_in(seed, STREAMS.index(purpose))


def initial_seed(generator):
    """The seed that a `SeedGenerator` began with, an int32: given, drawn, or read from a file with its state."""
    return int(np.asarray(generator.state)[0] % 2**31)


def at_least(least, name, value):
    """`value`, an integer tensor, checked when the program runs."""
    message = f"Expected `{name}` to be an integer >= {least}"
    with tf.control_dependencies([tf.debugging.assert_greater_equal(value, least, message=message)]):
        return tf.identity(value)


def fold_in(seed, index):
    """An independent seed for each `index`, from one seed."""
    # By name: of a negative seed, as what was folded in may be, XLA's own choice would make another than TensorFlow's.
    return tf.random.experimental.stateless_fold_in(seed, index, alg="philox")


@contextlib.contextmanager
def rows_from(first_row):
    """Within, and on this thread, a batch is part of a larger one, in which its first row has this number."""
    _place.first_row = first_row
    try:
        yield
    finally:
        del _place.first_row


def first_row():
    """The number of the batch's first row in the whole batch: 0 but on a replica."""
    return getattr(_place, "first_row", 0)


def seed_for_rows(seed, distribution):
    """The seed for a batch's draws: on a replica another than elsewhere, unless the distribution draws row by row."""
    return seed if getattr(distribution, "draws_by_row", False) else fold_in(seed, first_row())


def xla_choice(layers):
    """Whether a training step through these layers is best compiled whole, and why, in words.

    XLA's convolutions on a CPU are slower than oneDNN's.
    """
    layers = list(layers)
    unable = [layer.name for layer in layers if not layer.supports_jit]
    if unable:
        return False, f"layer {unable[0]!r} cannot be compiled"
    kinds = {kind for layer in layers for kind in type(layer).__mro__}
    if ON_CPU and any("Conv" in kind.__name__ and kind.__module__.startswith("keras.") for kind in kinds):
        return False, "on a CPU, convolutions are faster outside XLA"
    return True, "no layer is faster outside XLA"


def has_strategy():
    """Whether this is within a `tf.distribute` strategy's scope."""
    return tf.distribute.has_strategy()


def is_chief(strategy):
    """Whether this process is the one that writes what only one should: of several workers, the first."""
    return getattr(strategy.extended, "should_save_summary", True)


def same_on_all_workers(number, strategy=None):
    """`number`, an int32, or the first replica's where there are several workers, each of which has its own."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return number

    @tf.function
    def first():
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", tf.where(tf.equal(context.replica_id_in_sync_group, 0), number, 0))

    return int(strategy.experimental_local_results(strategy.run(first))[0])


def set_to_zero(variables):
    """Sets variables to zero, with no more Python than that takes."""
    kinds = {(variable.shape, variable.dtype) for variable in variables}
    zeros = {kind: tf.zeros(*kind) for kind in kinds}
    for variable in variables:
        variable.value.assign(zeros[variable.shape, variable.dtype])


def with_shape(tensor, shape):
    """`tensor`, known to have this shape: checked while tracing where it is known, and else when run."""
    return tf.ensure_shape(tensor, shape)
