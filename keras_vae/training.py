"""How a model of weighted terms trains through Keras: `compile`, `fit`, `evaluate` and what they report."""

import contextlib
import inspect
import logging
import threading
import types

import keras
from keras import ops

from keras_vae import backend, contract, replicas, target
from keras_vae.blocks import BlockFunction, asks_for_batches, steps_at_once
from keras_vae.data_check import DataCheck, empty, holds_arrays, peek
from keras_vae.feeding import PARTS, Feed, first_examples, split_off_validation
from keras_vae.objectives.base import weight_at
from keras_vae.random_state import BatchCount
from keras_vae.replicas import PredictFunction, ReplicaFunction

logger = logging.getLogger("keras_vae")

# Of the step that a thread is at: replicas have a thread each.
_step = threading.local()


class TermTrainer(keras.Model):
    """A Keras model that is trained on x alone, by the per-example terms that its `call` returns and adds as losses.

    What a subclass brings: `call(x, training)` returns `{"reconstruction": ..., **terms}` and hands the terms to
    `add_terms`; `build_for(spec)` builds it for what x is; `support` and `event_shape` are those of p(x|z), once built;
    `seed_generator` is of its noise.

    Args:
        objective: names and weighs the terms; a `keras_vae.objectives.Objective`.
        target: which part of x is scored: see `keras_vae.target.pick`.
    """

    support = None
    event_shape = None

    def __init__(self, objective, target=None, **kwargs):
        # Under mixed precision Keras would round x itself; the networks cast what they take in.
        super().__init__(autocast=False, **kwargs)
        self.objective = objective
        self.target = target
        self._elbo_tracker = keras.metrics.Mean(name="elbo")
        self._term_trackers = {name: keras.metrics.Mean(name=name) for name in objective.weights}
        self._usual_steps = None  # a block's, as last chosen
        self.counter = types.SimpleNamespace(batches=0)  # of all epochs that have ended: see `random_state`
        self._at_hand = types.SimpleNamespace(data=(), found={})  # of `fit`: see `first_examples`
        self._is_replicated = backend.has_strategy()
        if self._is_replicated:
            replicas.check_strategy(self.distribute_strategy)

    @property
    def dtype_scored(self):
        """float32, or float64 under a float64 policy: of what is scored, whatever the networks compute in."""
        return keras.backend.result_type(self.compute_dtype, "float32")

    def add_terms(self, terms, training):
        """Adds each term's weighted mean over the batch to the model's losses."""
        step = self.iteration if training else None
        for name, value in terms.items():
            weight = ops.cast(weight_at(self.objective.weights[name], step), value.dtype)
            if self._sample_weight is not None:
                value = value * ops.cast(self._sample_weight, value.dtype)
            self.add_loss(weight * ops.mean(value))

    def compile(self, optimizer="rmsprop", loss=None, *, jit_compile="auto", steps_per_execution="auto", **kwargs):
        """Configures training, as `keras.Model.compile` but for the loss, which is the objective's.

        Args:
            optimizer: name or instance of a Keras optimizer.
            loss: must stay None.
            jit_compile: True for the whole step as one XLA program, False for the loss ops alone as XLA programs, or
                "auto" for what is faster: see `keras_vae.backend.xla_choice`. `summary()` says which, and why.
            steps_per_execution: how many batches pass through one program before callbacks see them; or "auto": in
                `fit` and `evaluate` a few dozen, or one where a callback asks for batches.
            **kwargs: as of `keras.Model.compile`; `metrics` compare x with its reconstruction.

        Raises:
            ValueError: `loss` or `loss_weights` is given; `jit_compile` or `steps_per_execution` is not as above.
        """
        if loss is not None or kwargs.get("loss_weights") is not None:
            raise ValueError(
                "compile: expected no `loss` and no `loss_weights`, since the loss is the VAE's objective; received: "
                f"loss={loss!r}, loss_weights={kwargs.get('loss_weights')!r}. Choose the likelihood as the decoder's "
                "last layer, and weights in the objective: VAE(encoder, decoder, objective=ELBO(beta=...))."
            )
        if jit_compile not in (True, False, "auto"):
            raise ValueError(f"compile: expected `jit_compile` to be True, False or 'auto'; received: {jit_compile!r}")
        if steps_per_execution != "auto":
            contract.check_positive_integer("compile", "steps_per_execution", steps_per_execution)
        self._compile_request = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        self._why = "as asked"
        if jit_compile == "auto" and not kwargs.get("run_eagerly"):
            jit_compile, self._why = self._best_compilation()
        steps = 1 if steps_per_execution == "auto" else steps_per_execution
        with self.distribute_strategy.scope():
            super().compile(optimizer, jit_compile=jit_compile, steps_per_execution=steps, **kwargs)
        if self._is_replicated:
            replicas.adopt(self.optimizer, self.distribute_strategy)

    def get_compile_config(self):
        config = super().get_compile_config()
        return config and {**config, **self._compile_request}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, *args, check_data=True, **kwargs):
        """Trains the model: `keras.Model.fit`, on x alone; labels are ignored.

        `sample_weight` weights each example's terms: in the loss by Keras's convention (weighted sum over the batch
        size), in the metrics as a weighted mean.

        Args:
            *args, **kwargs: as of `keras.Model.fit`.
            check_data: False to trust the data unseen. By default arrays are looked at before training, and batches
                that come from elsewhere before they are trained on, for values that the likelihood cannot score.

        With `steps_per_epoch` below their number of batches, an epoch over arrays begins where the last one ended, and
        goes round at their end.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: the data is empty, not finite, outside the likelihood's support, or of another shape than the
                decoder's event.
        """
        self._assert_compile_called("fit")
        given = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        split_off_validation(given)
        with DataCheck(self, enabled=check_data) as check:
            spec = self.take_data(given, check, "x")
            feeds = [Feed(given, spec, given.get("batch_size"), given.get("steps_per_epoch"))]
            if given.get("validation_data") is not None:
                parts = keras.utils.unpack_x_y_sample_weight(given["validation_data"])
                validation = dict(zip(PARTS, parts, strict=True), steps=given.get("validation_steps"))
                spec = self.take_data(validation, check, "validation x")
                batch_size = given.get("validation_batch_size") or given.get("batch_size")
                feeds.append(Feed(validation, spec, batch_size, validation["steps"]))
            shown = [dict(feed.given) for feed in reversed(feeds)]
            with self._steps_at_once(feeds, given.get("callbacks")), self._shown(shown):
                self._replace_arrays(feeds[0], "steps_per_epoch", given.get("shuffle", True))
                if given.get("validation_data") is not None:
                    self._replace_arrays(feeds[1], "steps")
                    given["validation_steps"] = validation["steps"]
                    given["validation_data"] = tuple(validation[part] for part in PARTS)
                with self._counted(given):
                    history = super().fit(**given)
            if history.epoch and not history.history:  # a stream that nobody could know to be empty
                raise empty("x")
            return history

    def evaluate(self, *args, check_data=True, **kwargs):
        """The loss and the metrics on data: `keras.Model.evaluate`, weights as in `fit`.

        Args:
            *args, **kwargs: as of `keras.Model.evaluate`.
            check_data: False to trust the data unseen, as in `fit`.

        Raises:
            ValueError: as in `fit`.
        """
        if "_use_cached_eval_dataset" in kwargs:  # from within `fit`, which has looked at the data
            return super().evaluate(*args, **kwargs)
        self._assert_compile_called("evaluate")
        given = inspect.signature(super().evaluate).bind(*args, **kwargs).arguments
        with DataCheck(self, enabled=check_data) as check:
            spec = self.take_data(given, check, "x")
            feed = Feed(given, spec, given.get("batch_size"), given.get("steps"))
            with self._steps_at_once([feed], given.get("callbacks"), ("test",)):
                self._replace_arrays(feed, "steps")
                result = super().evaluate(**given)
            if self._elbo_tracker.count == 0:
                raise empty("x")
            return result

    def reset_metrics(self):
        # A Mean's reset goes through Keras's checks variable by variable: on small data, a few hundredths of an epoch.
        means = [metric for metric in self.metrics if type(metric) is keras.metrics.Mean]
        backend.set_to_zero([variable for metric in means for variable in metric.variables])
        for metric in self.metrics:
            if metric not in means:
                metric.reset_state()

    def _get_metrics_result_or_logs(self, logs):
        # Keras computes every result anew, in case a step ran late or returned something else. An epoch without a batch
        # has the logs of the one before.
        are_results = self._steps_are_ours and logs and self._elbo_tracker.count > 0
        return logs if are_results else super()._get_metrics_result_or_logs(logs)

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            super().make_train_function(force=True)
            self.train_function = self._step_function(self.train_step, self.train_function, training=True)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            super().make_test_function(force=True)
            self.test_function = self._step_function(self.test_step, self.test_function, training=False)

    def make_predict_function(self, force=False):
        if not self._is_replicated:
            super().make_predict_function(force=force)
        elif self.predict_function is None or force:
            self.predict_function = PredictFunction(self, self.jit_compile, self.run_eagerly)

    def train_step(self, data):
        with self._step_on(data):
            return super().train_step(data)

    def test_step(self, data):
        with self._step_on(data):
            return super().test_step(data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self._update_trackers(y_pred)
        return super().compute_loss(x=x, y=y, y_pred=y_pred, training=training)

    def track(self, x, sample_weight, size, training):
        """The loss of a replica's share of a batch, `size` examples, with all metrics updated."""
        with self._step_on((x, None, sample_weight)):
            y_pred = self(x, training=training)
            # Not `super().compute_loss`, which divides by the number of replicas, as if their shares were equal.
            loss = ops.sum(ops.stack(self.losses))
            self._update_trackers(y_pred)
            self._loss_tracker.update_state(ops.where(size > 0, loss, 0.0), sample_weight=size)
            self.compute_metrics(x, None, y_pred, sample_weight)
        return loss

    def _update_trackers(self, y_pred):
        # Not in `call`, which `predict` runs too; and an example at a time, so that a short batch counts for what it
        # holds.
        terms = {name: y_pred[name] for name in self._term_trackers}
        for name, value in terms.items():
            self._term_trackers[name].update_state(value, self._sample_weight)
        self._elbo_tracker.update_state(self.objective.elbo(terms), self._sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # What `compile(metrics=...)` compares: x itself with its reconstruction.
        return super().compute_metrics(x, target.pick(x, self.target), y_pred["reconstruction"], sample_weight)

    def take_data(self, given, check, name):
        """Readies the x, y and sample_weight among a method's arguments: builds the model for x, and looks at the data.

        Returns the spec of x, or None where it cannot be known: see `keras_vae.data_check.peek`.
        """
        spec, given["x"] = peek(given.get("x"))
        if not self.built and spec is not None:
            self.build_for(spec)
        if self._is_replicated and self.built:
            replicas.check_made_in_scope(self)
        if self.compiled and self._compile_request["jit_compile"] == "auto" and not self.run_eagerly:
            best, self._why = self._best_compilation()  # now that all layers are there
            if best != self.jit_compile:
                self.jit_compile = best
                self.train_function = self.test_function = self.predict_function = None
        if spec is not None and self.event_shape is not None:
            contract.check_event(self.event_shape, target.pick(spec, self.target))
        if spec is not None and self._is_replicated and self.compiled:
            self._make_ready((spec,))
        given["x"] = check(given["x"], name)
        if holds_arrays(given["x"]) and given.get("sample_weight") is not None:
            check.finite(given["sample_weight"], "sample_weight")
        return spec

    def summary(self, *args, print_fn=None, **kwargs):
        """Prints a summary, as `keras.Model.summary`, and how training steps are compiled."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        if self.compiled:
            (print_fn or print)(f"Training steps: {self.compilation}")

    @property
    def compilation(self):
        """How training steps are compiled, and why, in words."""
        if self.run_eagerly:
            return "run eagerly, as asked"
        if not self.jit_compile:
            return f"loss ops as XLA programs, networks outside ({self._why})"
        where = " a replica, the optimizer outside" if self._is_replicated else ""
        return f"one XLA program{where} ({self._why})"

    def _best_compilation(self):
        """Whether training steps are best compiled whole, and why, in words."""
        layers = list(self._flatten_layers())
        if self._is_replicated and not self._steps_are_ours:
            return False, "a step of one's own, on several devices"
        return backend.xla_choice(layers)

    @property
    def _steps_are_ours(self):
        """Whether no subclass has a step, or a loss of one, of its own."""
        parts = ("train_step", "test_step", "compute_loss")
        return all(getattr(type(self), part) is getattr(TermTrainer, part) for part in parts)

    @contextlib.contextmanager
    def _steps_at_once(self, feeds, callbacks=None, phases=("train", "test")):
        """Within, `steps_per_execution` is what suits the data, unless it was asked for by number."""
        asked = self.steps_per_execution
        if self._compile_request["steps_per_execution"] == "auto":
            work = self.count_params() * self.objective.num_samples if self.built else 0
            watched = callbacks is not None and asks_for_batches(callbacks, phases)
            watched = watched or (self._is_replicated and not self._steps_are_ours)  # Keras's function takes one
            # Without `Block`s, which end with an epoch, it is for the number of steps to do so.
            bounds = [feed.steps or (None if self._takes_blocks else feed.num_batches) for feed in feeds]
            if not watched:
                self._usual_steps = steps_at_once(feeds[0], work, bounds, before=self._usual_steps)
            self.steps_per_execution = 1 if watched else self._usual_steps
        try:
            yield
        finally:
            self.steps_per_execution = asked

    @contextlib.contextmanager
    def _shown(self, data):
        """Within, `first_examples` are of these data."""
        self._at_hand.data = data
        try:
            yield
        finally:
            self._at_hand.data, self._at_hand.found = (), {}
            if hasattr(self.train_function, "latest"):
                self.train_function.latest = []

    def first_examples(self, num):
        """A few examples, for a callback to look at, of the data that `fit` is at work on: the first that it validates
        on, or else, if they are arrays, trains on; of a stream that it trains on, which only training reads, those of
        the steps that were run last.

        Returns:
            x and y, structures of NumPy arrays of at most `num` rows; y is None where there are no labels. Both are
            None where there are none, as yet or at all: outside of `fit`, say.
        """
        if num not in self._at_hand.found:
            *validation, training = self._at_hand.data or [{}]
            found = None, None
            for data in [*validation, *([training] if holds_arrays(training.get("x")) else [])]:
                found = first_examples(data["x"], data.get("y"), num) if found[0] is None else found
            if found[0] is None and (latest := getattr(self.train_function, "latest", None)):
                block, size, *_ = latest[0]
                x, _, _ = keras.utils.unpack_x_y_sample_weight(block)
                flat = keras.tree.map_structure(lambda part: ops.reshape(part[:size], (-1, *part.shape[2:])), x)
                found = first_examples(flat, None, num)
            if found[0] is None:
                return found
            self._at_hand.found[num] = found
        return self._at_hand.found[num]

    @property
    def examples_seen(self):
        """How many examples the running epoch, or evaluation, has had so far."""
        return int(ops.convert_to_numpy(self._loss_tracker.count))  # of all replicas

    @property
    def iteration(self):
        """The optimizer's count of steps, a variable; None before `compile`."""
        optimizer = getattr(self, "optimizer", None)
        # Older Keras leaves a loss-scaling optimizer's own count at 0.
        return getattr(getattr(optimizer, "inner_optimizer", optimizer), "iterations", None)

    @property
    def _takes_blocks(self):
        """Whether the step functions take elements that are `Block`s."""
        return not self.run_eagerly and not self._is_replicated

    @contextlib.contextmanager
    def _counted(self, given):
        """Within, epochs of a known number of batches are counted, before any callback of the user's sees their end."""
        callbacks, count = given.get("callbacks"), BatchCount(self.counter, given.get("steps_per_epoch") or 0)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.callbacks.insert(0, count)
        else:
            given["callbacks"] = [count, *(keras.tree.flatten(callbacks) if callbacks is not None else ())]
        try:
            yield
        finally:
            if isinstance(callbacks, keras.callbacks.CallbackList):
                callbacks.callbacks.remove(count)

    def _replace_arrays(self, feed, steps_name, shuffle=False):
        labels = not self._steps_are_ours
        # An epoch's order is a function of the seed and of the batches before it, which are what a file and a backup
        # hold: whoever is resumed from either meets the orders that were to come.
        seed = backend.agreed(backend.initial_seed(self.seed_generator), self.distribute_strategy)
        first_batch = (lambda: self.counter.batches) if shuffle else (lambda: 0)
        feed.replace_arrays(
            self.steps_per_execution, self._takes_blocks, steps_name, shuffle, labels, seed, first_batch
        )

    def _step_function(self, step, stock, training):
        """What Keras calls with an iterator; Keras's own where there is no program to make of it."""
        if self._is_replicated:
            if self._steps_are_ours:
                return ReplicaFunction(self, training, self.jit_compile, self.run_eagerly)
            logger.warning("A step of one's own, on several devices: stepping by Keras's own function.")
            return stock
        if self.run_eagerly:
            return stock
        return BlockFunction(self, step, self.jit_compile, stock, self._make_ready, labels=not self._steps_are_ours)

    def _make_ready(self, batch):
        """Creates what Keras creates in the first step: within a loop, or on a replica, it is too late for that.

        Raises:
            ValueError: the batch's x has another shape than the decoder's event.
        """
        if self.built and self.event_shape is not None:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
            contract.check_event(self.event_shape, target.pick(x, self.target))
        parts = [self.optimizer, self._compile_metrics]
        if not self.built or any(part is not None and not part.built for part in parts):
            with self.distribute_strategy.scope():
                self._symbolic_build(data_batch=batch)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras's takes a batch's mean over the replicas, which must then have equal shares.
        if not (self._is_replicated and self.built and self.optimizer.built):
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    @contextlib.contextmanager
    def _step_on(self, data):
        """Makes a step's sample weights known to `call`, which Keras does not hand them to."""
        _, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _step.sample_weight = None if sample_weight is None else contract.check_sample_weight(sample_weight)
        try:
            yield
        finally:
            _step.sample_weight = None

    @property
    def _sample_weight(self):
        """`[B]`, of the batch that a step is at, or None."""
        return getattr(_step, "sample_weight", None)
