"""The engine: which step function a model runs, and how data gets to it."""

import contextlib
import logging
import math
import threading
import weakref

import keras
import numpy as np

from keras_vae import backend, compat
from keras_vae.data import contract, kinds
from keras_vae.data.parts import pick
from keras_vae.engine import datasets, not_finite, random_state, replicas
from keras_vae.engine.arrays import ArrayBlocks, is_read_by_rows
from keras_vae.engine.block_size import asks_for_batches, batches_per_block
from keras_vae.engine.blocks import BlockFunction
from keras_vae.engine.feeding import rows_per_batch
from keras_vae.engine.predicting import BatchFunction
from keras_vae.engine.queries import Queries
from keras_vae.engine.turns import Turns
from keras_vae.optimizers.within import optimizers_within

logger = logging.getLogger("keras_vae")


class Engine:
    """Runs the steps of a model: on one device in blocks, or on all replicas of a strategy.

    Args:
        model: a `keras_vae.trainer.Trainer`, which is being made. A strategy whose scope this is in is its own.

    Attributes:
        is_replicated: whether the model is trained under a `tf.distribute` strategy.
        turns: which thread's steps change the model.
        batches_done: how many batches all epochs had that have ended, of those whose number was known.
    """

    def __init__(self, model):
        self._model = weakref.ref(model)
        self.is_replicated = backend.has_strategy()
        self.batches_done = 0
        self.queries = Queries(self._model)
        self.readers = {}  # of `transform`, `log_likelihood` and the like: see `keras_vae.evaluation.over_data`
        self.making_readers = threading.Lock()
        self.turns = Turns()
        self._usual_block = None  # how many batches a block had, as last chosen
        if self.is_replicated:
            replicas.check_strategy(model.distribute_strategy)

    @property
    def model(self):
        """The model."""
        return self._model()

    # How steps run.

    def best_compilation(self, has_sparse=False):
        """Whether training steps are best compiled whole, and why, in words.

        Args:
            has_sparse: whether a part of x is sparse, which XLA does not take.
        """
        if has_sparse:
            return False, "a part of x is sparse"
        if self.is_replicated and not self.model.has_standard_steps:
            return False, "a step of one's own, on several devices"
        return backend.xla_choice(compat.layers_of(self.model))

    def adapt_optimizer(self):
        """Readies an optimizer for the model's strategy, wherever it was made."""
        if self.is_replicated:
            for each in optimizers_within(self.model.optimizer):
                compat.distribute_optimizer(each, self.model.distribute_strategy)

    def step_function(self, step, stock, training):
        """What Keras calls with an iterator; Keras's own, `stock`, where there is no program to make of it."""
        model = self.model
        if self.is_replicated:
            if model.has_standard_steps:
                return replicas.ReplicaFunction(model, training, model.jit_compile, model.run_eagerly)
            logger.warning("A step of one's own, on several devices: stepping by Keras's own function.")
            return stock
        if model.run_eagerly:
            return stock
        return BlockFunction(
            model, step, model.jit_compile, stock, self.make_ready, labels=not model.has_standard_steps
        )

    def predict_function(self, model):
        """What Keras calls with a list of batches to have what `model`, this or one around it, makes of them.

        None where Keras's own will do.
        """
        if self.is_replicated:
            return replicas.PredictFunction(model, model.jit_compile, model.run_eagerly)
        return None if model.run_eagerly else BatchFunction(model)

    def build_for_loss(self, batch):
        """Creates what a `compute_loss` of one's own creates when it is first called, such as a head's weights.

        An optimizer takes no weight that it was not built with: so this comes before.

        Args:
            batch: `(x, y, sample_weight)`, tensors or `KerasTensor`s.
        """
        model = self.model
        if model.has_standard_steps or not model.built or all(layer.built for layer in compat.layers_of(model)):
            return
        specs = tuple(None if part is None else kinds.spec_of(part) for part in batch)
        with model.distribute_strategy.scope(), backend.specifying():
            compat.symbolically(model.loss_of, specs)

    def make_ready(self, batch):
        """Creates what Keras creates in the first step: within a loop, or on a replica, it is too late for that.

        Raises:
            ValueError: the batch's x has another shape than the decoder's event; its weights are not one an example.
        """
        model = self.model
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        if sample_weight is not None:  # here, for a graph that has met several ranks knows none
            contract.check_sample_weight(sample_weight)
        if model.built and model.event_shape is not None:
            contract.check_event(model.event_shape, pick(x, model.target))
        self.build_for_loss(keras.utils.unpack_x_y_sample_weight(batch))
        parts = [model.optimizer, compat.compiled_metrics_of(model)]
        if not model.built or any(part is not None and not part.built for part in parts):
            with model.distribute_strategy.scope(), backend.specifying():
                compat.build_from_batch(model, batch)

    def builds_from_data(self):
        """Whether Keras is to build the model from a distributed batch: it takes shares to be equal."""
        return not (self.is_replicated and self.model.built and self.model.optimizer.built)

    def check_variables(self):
        """Raises ValueError if some variable of a built model was made outside its strategy's scope."""
        if self.is_replicated and self.model.built:
            replicas.check_made_in_scope(self.model)

    def forget_programs(self):
        """Lets go of programs that hold the layers as they were when traced, but for those of Keras."""
        self.queries.forget()
        self.readers.clear()

    def may_ask(self):
        """Whether a query of the model, here and now, may run as a program of its own: see `queries`."""
        return not self.is_replicated and not self.model.run_eagerly and self.model.built and backend.runs_eagerly()

    # How data gets to them.

    @contextlib.contextmanager
    def feeding(self, feeds, callbacks=None, phases=("train", "test"), shuffle=False):
        """Within, the arguments that feeds were made of are what the step functions take.

        `steps_per_execution` is what suits the data, unless it was asked for by number.

        Args:
            feeds: `Feed`s, of which the first says how many batches a block has.
            callbacks: as of `fit`.
            phases: "train", "test" or both: in which of them callbacks may ask for every batch.
            shuffle: as of `fit`, of the first feed.
        """
        model = self.model
        if model.compile_request["steps_per_execution"] == "auto":
            model.fed.steps = self._batches_per_call(feeds, callbacks, phases)
        try:
            for feed in feeds:
                self._replace_arrays(feed, shuffle and feed is feeds[0])
            yield
        finally:
            vars(model.fed).pop("steps", None)
            self.forget_batches()

    def _batches_per_call(self, feeds, callbacks, phases):
        model = self.model
        if callbacks is not None and asks_for_batches(callbacks, phases):
            return 1
        if self.is_replicated and not model.has_standard_steps:
            return 1  # Keras's own function takes one
        work = model.count_params() * model.objective.num_samples if model.built else 0
        # Without `Block`s, which end with an epoch, it is for the number of steps to do so.
        takes_blocks = not model.run_eagerly and not self.is_replicated
        bounds = [feed.steps or (None if takes_blocks else feed.num_batches) for feed in feeds]
        self._usual_block = batches_per_block(feeds[0], work, bounds, before=self._usual_block)
        return self._usual_block

    def _replace_arrays(self, feed, shuffle):
        model, this = self.model, weakref.ref(self)
        # An epoch's order is a function of the seed and of the batches before it, which are what a file and a backup
        # hold: whoever is resumed from either meets the orders that were to come.
        feed.replace_arrays(
            model.steps_per_execution,
            as_dataset=self.is_replicated or model.run_eagerly,
            shuffle=shuffle,
            labels=not model.has_standard_steps,
            seed=backend.same_on_all_workers(backend.initial_seed(model.seed_generator), model.distribute_strategy),
            first_batch=(lambda: this().batches_done) if shuffle else int,
        )

    def batches_to_predict(self, x, batch_size=None, steps=None):
        """The x, batch size and steps of `predict`, with arrays in a form that is read without a pipeline to set up."""
        lengths = {tuple(leaf.shape[:1]) for leaf in keras.tree.flatten(x)} if kinds.holds_arrays(x) else ()
        is_left = self.is_replicated or self.model.run_eagerly
        if len(lengths) != 1 or lengths <= {(), (0,)} or (is_left and not is_read_by_rows(x)):
            return x, batch_size, steps
        ((num_rows,),) = lengths
        size = rows_per_batch(num_rows, batch_size, steps)
        if is_left:
            return datasets.batched(x, size), None, steps
        num_batches = math.ceil(num_rows / size)
        if steps is not None and steps > num_batches:
            return x, batch_size, steps  # Keras says what is wrong
        steps = steps or num_batches
        return ArrayBlocks((x,), size, None, num_elements=steps), None, steps

    @contextlib.contextmanager
    def counting(self, given):
        """Within, epochs of a known number of batches are counted, before any callback of the user's sees their end.

        And terms that are not finite are warned of, unless a callback of the user's explains them.
        """
        callbacks = given.get("callbacks")
        own = [random_state.BatchCount(self, given.get("steps_per_epoch") or 0)]
        if not not_finite.is_explained(callbacks):
            own.append(not_finite.NotFiniteWarning(self.model.objective.term_weights))
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.callbacks[:0] = own
        else:
            given["callbacks"] = [*own, *(keras.tree.flatten(callbacks) if callbacks is not None else ())]
        try:
            yield
        finally:
            if isinstance(callbacks, keras.callbacks.CallbackList):
                callbacks.callbacks[:] = [each for each in callbacks.callbacks if each not in own]

    # What callbacks may look at.

    def last_blocks(self):
        """The `Block`s that the training function ran last; None where steps run in another way."""
        return getattr(self.model.train_function, "last_blocks", None)

    def last_examples(self, num):
        """x of the last steps' first `num` examples, a structure of NumPy arrays; None where it is not known."""
        blocks = self.last_blocks()
        if not blocks:
            return None
        x, _, _ = keras.utils.unpack_x_y_sample_weight(blocks[0].batches)

        def rows(part):
            part = np.asarray(part[: blocks[0].num_batches])
            return part.reshape(-1, *part.shape[2:])[:num]

        return keras.tree.map_structure(rows, x)

    def run_again(self, block):
        """The logs after a `Block` is trained on once more."""
        return self.model.train_function.run(block)

    def forget_batches(self):
        """Lets go of the blocks that were run last."""
        for function in (self.model.train_function, self.model.test_function):
            if hasattr(function, "last_blocks"):
                function.last_blocks = []

    # What a file must hold, beside weights, for a run to go on where it ended.

    def save(self, store):
        """Puts the random state of the model and its layers into a layer's store."""
        random_state.save(self.model, self, store)

    def load(self, store):
        """Takes it out again, and returns what else the store holds."""
        return random_state.load(self.model, self, store)
