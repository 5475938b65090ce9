"""How steps run on several devices or machines: `tf.distribute`, with each replica's passes as one XLA program.

    global batch -> a share a replica -> program: loss, gradients, changes of state -> sums -> optimizer, state

A share's loss is its part of the global batch's mean. So the replicas' gradients add up to one device's, whatever the
shares: a short last batch may leave a replica with none. A program touches no variable: it takes values and returns
changes, since XLA does not run where it would write another device's. Optimizer and state stand outside, where the
sums are: what an optimizer clips, checks or accumulates is one device's gradient.
"""

import itertools

import keras
import tensorflow as tf

from keras_vae import backend, compat
from keras_vae.optimizers.within import main_optimizer


class ReplicaFunction:
    """What Keras calls with an iterator of global batches: trains or tests on the next `steps_per_execution` of them.

    Layers with a batch's statistics see their replica's share; their moving averages, like all floating-point state,
    become the shares' weighted mean. What a metric holds must add up, as sums and counts do.

    Args:
        model: a `keras_vae.trainer.Trainer`, made in its strategy's scope.
        training: whether to train or to test.
        jit_compile: whether a replica's passes are an XLA program, or TensorFlow runs them.
        run_eagerly: whether nothing is compiled.
    """

    def __init__(self, model, training, jit_compile, run_eagerly=False):
        self.model = model
        self.training = training
        self.strategy = model.distribute_strategy
        self.program, self.step, self.logs = self._program, self._step, model.get_metrics_result
        if not run_eagerly:
            if jit_compile:
                self.program = backend.program(self.program, jit_compile=True)
            self.step, self.logs = backend.program(self.step), backend.program(self.logs)

    def __call__(self, iterator):
        """The logs after the next batches.

        Raises:
            StopIteration: there is no further batch.
        """
        batches = itertools.islice(iterator, self.model.steps_per_execution)
        if not [self.step(batch) for batch in batches]:
            raise StopIteration
        return self.logs()

    def _step(self, batch):
        """One step, on all replicas; gradients and changes are applied here, where all replicas are in view."""
        gradients, changes = self.strategy.run(self._on_replica, args=(batch,))
        if self.training:
            self._apply(gradients)
        for index, change in changes.items():
            variable = self._state()[int(index)]
            if compat.is_draw_count(variable):
                drawn = self.strategy.experimental_local_results(change)[0]  # the same on all
                variable.assign(variable.value + tf.stack([tf.zeros_like(drawn), drawn]))
            else:
                change = self.strategy.reduce(tf.distribute.ReduceOp.SUM, change, axis=None)
                variable.assign(variable + change if self._is_metric(variable) else change)
        return True

    def _apply(self, gradients):
        """Applies the gradients' sums, to the variables of all replicas."""
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        with self.strategy.scope():
            sums = self._sums(gradients, [variable.value for variable in variables])
            compat.apply_summed_gradients(optimizer, sums, variables, self.strategy)

    def _sums(self, gradients, variables):
        extended, pairs = self.strategy.extended, list(zip(gradients, variables, strict=True))
        if isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            sums = extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)  # in few messages
        else:
            # Not in a batch: that numbers its messages anew for each strategy, and on CPUs models get each other's.
            sums = [extended.reduce_to(tf.distribute.ReduceOp.SUM, *pair) for pair in pairs]
        return [self.strategy.experimental_local_results(each)[0] for each in sums]  # the same on all

    def _on_replica(self, batch):
        """A replica's part of the gradients, and its changes of state."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        context = tf.distribute.get_replica_context()
        replica, rows = context.replica_id_in_sync_group, _rows(x, context)
        x = _never_empty(x, rows[-1])
        sample_weight = None if sample_weight is None else _never_empty(sample_weight, rows[-1])
        scale = self.model.optimizer.scale_loss(tf.ones([])) if self.training else tf.ones([])
        variables = self._constants(), self._state(), self.model.trainable_variables
        constants, state, weights = map(_values, variables)
        return self.program(x, sample_weight, rows, replica, scale, constants, state, weights)

    def _program(self, x, sample_weight, rows, replica, scale, constants, state, weights):
        """Gradients and changes of state from a share of a batch: of values, not variables."""
        model, (total, first_row, size) = self.model, rows
        size = tf.cast(size, tf.float32)
        share = size / tf.cast(total, tf.float32)  # of the batch
        before = [self._before(variable, value, replica) for variable, value in zip(self._state(), state, strict=True)]
        variables = [*self._constants(), *self._state(), *model.trainable_variables]
        values = [*constants, *before, *weights]
        scope = _Recording(list(zip(variables, values, strict=True)), collect_losses=True)
        with scope, backend.rows_from(first_row), tf.GradientTape() as tape:
            tape.watch(weights)
            loss = model.track(x, sample_weight, size, self.training)
            loss = _zero_unless(size > 0, tf.cast(share, loss.dtype) * loss) * tf.cast(scale, loss.dtype)
        gradients = None
        if self.training:
            gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            gradients = [_zero_unless(size > 0, tf.convert_to_tensor(gradient)) for gradient in gradients]
        changes = {}
        for index, (variable, value) in enumerate(zip(self._state(), before, strict=True)):
            if id(variable) in scope.assigned:
                new = scope.get_current_value(variable)
                if compat.is_draw_count(variable):
                    changes[str(index)] = (new - value)[1]
                else:
                    if not self._is_metric(variable):
                        # Numbers that cannot be averaged, a layer's count of calls say, are the first replica's.
                        is_mean = new.dtype.is_floating
                        new = new * tf.cast(share, new.dtype) if is_mean else _zero_unless(replica == 0, new)
                    changes[str(index)] = _zero_unless(size > 0, new)
        return gradients, changes

    def _before(self, variable, value, replica):
        """The state that a replica starts from."""
        if self._is_metric(variable):
            return tf.zeros_like(value)  # so that what it ends with is its share of the sums
        if compat.is_draw_count(variable) and not self._is_of_latents(variable):
            # A layer's own, dropout's say: other draws on each replica. (The latents' noise goes by row.)
            key = backend.fold_in(tf.cast(value, tf.int32) * [1, 0], replica)
            key = tf.random.stateless_uniform([], key, None, None, tf.int32)
            return tf.stack([tf.cast(key & 0x7FFFFFFF, value.dtype), value[1]])
        return value

    def _is_of_latents(self, variable):
        model = self.model
        generators = model.seed_generator, model.evaluation_seeds, model.prediction_seeds
        return any(variable is generator.state for generator in generators)

    def _state(self):
        return [*self.model.non_trainable_variables, *self.model.metrics_variables]

    def _constants(self):
        """The optimizer's count of steps, which the model's `iteration` is made of."""
        return [compat.step_count_of(main_optimizer(self.model.optimizer))] if self.training else []

    def _is_metric(self, variable):
        return any(variable is each for each in self.model.metrics_variables)


class PredictFunction:
    """What Keras calls with a list of global batches: the model's outputs for them, in order, on every worker.

    Args:
        model: a model whose call gives tensors `[B, ...]`, made in its strategy's scope.
        jit_compile, run_eagerly: as of `ReplicaFunction`.
    """

    def __init__(self, model, jit_compile, run_eagerly=False):
        self.model = model
        self.strategy = model.distribute_strategy
        self.structure = None  # of the model's outputs, once known
        self.program, self.step = self._program, self._step
        if not run_eagerly:
            if jit_compile:
                self.program = backend.program(self.program, jit_compile=True)
            self.step = backend.program(self.step)

    def __call__(self, batches):
        outputs = [self.step(batch) for batch in batches]
        parts = [tf.concat([output[name] for output in outputs], 0) for name in outputs[0]]
        return keras.tree.pack_sequence_as(self.structure, parts)

    def _step(self, batch):
        outputs, state = self.strategy.run(self._on_replica, args=(batch,))
        for index, value in state.items():  # the same on all replicas
            variable = self.model.non_trainable_variables[int(index)]
            variable.assign(self.strategy.experimental_local_results(value)[0])
        return {name: self.strategy.reduce("SUM", output, axis=None) for name, output in outputs.items()}

    def _on_replica(self, batch):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        context = tf.distribute.get_replica_context()
        total, first_row, size = _rows(x, context)
        variables = self.model.non_trainable_variables, self.model.trainable_variables
        outputs, state = self.program(_never_empty(x, size), first_row, *map(_values, variables))

        def in_place(output):
            """The output for the whole batch, 0 but for this replica's rows."""
            before_and_after = [[first_row, total - first_row - size]]
            return tf.pad(output[:size], before_and_after + [[0, 0]] * (output.shape.rank - 1))

        self.structure = outputs
        return {str(index): in_place(output) for index, output in enumerate(keras.tree.flatten(outputs))}, state

    def _program(self, x, first_row, state, weights):
        """Outputs for a share of a batch, and what state they leave: of values, not variables."""
        model = self.model
        variables = [*model.non_trainable_variables, *model.trainable_variables]
        scope = _Recording(list(zip(variables, [*state, *weights], strict=True)), collect_losses=True)
        with scope, backend.rows_from(first_row):
            outputs = model.predict_step((x,))
        state = {
            str(index): scope.get_current_value(variable)
            for index, variable in enumerate(model.non_trainable_variables)
            if id(variable) in scope.assigned
        }
        return outputs, state


class _Recording(keras.StatelessScope):
    """A stateless scope that knows which variables were assigned."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.assigned = set()

    def add_update(self, update):
        self.assigned.add(id(update[0]))
        super().add_update(update)


def check_strategy(strategy):
    """Raises ValueError unless a model can be trained under this strategy."""
    kinds = tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy
    if not isinstance(strategy, kinds):
        raise ValueError(
            "Expected the strategy to be a tf.distribute.MirroredStrategy or MultiWorkerMirroredStrategy; received: "
            f"{type(strategy).__name__}"
        )


def check_made_in_scope(model):
    """Raises ValueError unless all of a model's variables were made in its strategy's scope."""
    made = model.distribute_strategy.extended.variable_created_in_scope
    outside = [variable.path for variable in model.variables if not made(variable.value)]
    if outside:
        raise ValueError(
            "Expected all of the model's variables to be made in the strategy's scope, where the model was made; "
            f"received {len(outside)} made outside, such as {outside[0]!r}. Make encoder, decoder and VAE in it."
        )


def _rows(x, context):
    """How many rows the global batch has, which of them is the first of a replica's x, and how many x has."""
    replica, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
    size = tf.shape(tf.nest.flatten(x)[0])[0]
    sizes = context.all_reduce("SUM", tf.one_hot(replica, replicas, size, 0, dtype=tf.int32))
    return tf.reduce_sum(sizes), tf.reduce_sum(tf.where(tf.range(replicas) < replica, sizes, 0)), size


def _never_empty(batch, size):
    """The batch, or a row of zeros for one without rows, which some of TensorFlow's operations do not take."""
    missing = tf.cast(tf.equal(size, 0), tf.int32)
    return tf.nest.map_structure(lambda part: tf.pad(part, [[0, missing]] + [[0, 0]] * (part.shape.rank - 1)), batch)


def _values(variables):
    return [tf.convert_to_tensor(variable.value) for variable in variables]


def _zero_unless(condition, value):
    """Means over no rows are NaN."""
    return tf.where(condition, value, tf.zeros_like(value))
