"""How terms become what is minimised, by `add_loss`, and what is reported, by metrics.

objective's terms [B], nats -> add_terms -> add_loss -> loss   weighted by the objective and by the examples' weights
                            -> trackers -> each by its name    weighted by the examples' weights alone
nll, kl, nll/<part> [B]     -> trackers -> each, and elbo      the same, whatever is minimised
"""

import contextlib
import threading

import keras
from keras import ops

from keras_vae import backend, compat
from keras_vae.building import BuiltFromData
from keras_vae.data import contract
from keras_vae.data.parts import pick
from keras_vae.objectives import Objective
from keras_vae.objectives.base import elbo_of
from keras_vae.objectives.term_names import names_of_terms
from keras_vae.objectives.values import weights_at
from keras_vae.optimizers.within import main_optimizer

# The sample weights of the step that a thread is at. Keras's `train_step` calls a model on x alone, as does whoever
# calls a VAE inside a larger model; yet the losses are added in `call`, where x is scored. So the weights wait here,
# from a step's beginning to its end. Replicas have a thread each, and models train in threads of their own.
_step = threading.local()


class TermModel(BuiltFromData):
    """A Keras model that is trained by the per-example terms that its `call` returns and adds as losses.

    A subclass defines `call(x, training)`, which returns `{"reconstruction": ..., **terms}` and hands the terms to
    `add_terms`. What is reported whatever is minimised is among them: `nll`, `kl` and, of several parts, `nll/<part>`.

    Args:
        objective: names and weighs the terms; a `keras_vae.objectives.Objective`. A subclass sets `self.objective`.
        target: which part of x is scored: see `keras_vae.data.parts.pick`.
    """

    def __init__(self, objective, target=None, **kwargs):
        super().__init__(target, **kwargs)
        self.elbo_tracker = keras.metrics.Mean(name="elbo")
        self.term_trackers = {name: keras.metrics.Mean(name=name) for name in names_of_terms(objective)}
        self.part_trackers = {}  # made when built: only then it is known what parts there are

    def build(self, input_shape):
        super().build(input_shape)
        with self.distribute_strategy.scope():
            for name in self.known.reported:
                if name not in self.term_trackers and name not in self.part_trackers:
                    self.part_trackers[name] = keras.metrics.Mean(name=name)

    def __setattr__(self, name, value):
        if name == "objective" and hasattr(self, name):
            self._replace_objective(value)
        else:
            super().__setattr__(name, value)

    def _replace_objective(self, objective):
        """Has another objective from the next step on. Programs are traced anew."""
        contract.check_part("objective", objective, Objective, "keras_vae.objectives.ELBO()")
        if names_of_terms(objective) != list(self.term_trackers):
            raise ValueError(
                f"VAE: expected another `objective` to have the same terms, {list(self.objective.term_weights)}; "
                f"received {objective!r}, which has {list(objective.term_weights)}. Make another model of the same "
                "parts: VAE(vae.encoder, vae.decoder, vae.prior, objective)."
            )
        before = self.objective
        compat.replace_layer(self, "objective", objective)
        try:
            self._make_objective_fit()
        except Exception:
            compat.replace_layer(self, "objective", before)
            raise
        self.forget_steps()
        if self.compiled and objective.trainable_variables:
            self.compiled = False  # its optimizer does not know the weights of other networks: `fit` asks for a new one

    def _make_objective_fit(self):
        """Tells another objective what is known, and makes its state; an error says that it does not fit the model."""
        if self.known.num_examples is not None:
            self.objective.prepare(self.known.num_examples)
        if self.built:
            self.build_objective()
            with self.distribute_strategy.scope(), backend.specifying():
                compat.symbolically(self.call, self.x_spec)  # makes the weights of its networks, too

    @property
    def iteration(self):
        """The optimizer's count of steps, a variable; None before `compile`."""
        return iterations_of(self)

    @property
    def has_standard_steps(self):
        """Whether no subclass has a `train_step`, `test_step` or `compute_loss` of its own."""
        parts = ("train_step", "test_step", "compute_loss")
        return all(getattr(type(self), part) is getattr(TermModel, part) for part in parts)

    def examples_seen(self):
        """How many examples the running epoch, or evaluation, has had so far, on all replicas.

        A method, and no property: Keras reads those when it saves, and here every worker has to take part.
        """
        return int(ops.convert_to_numpy(compat.loss_tracker_of(self).count))

    def step_of(self, training):
        """The iteration of the optimizer that trains, a variable; None outside training, and where there is none."""
        # A model around this one has the optimizer, if it is what is trained.
        around = iterations_of(compat.outermost_layer())
        return (self.iteration if around is None else around) if training else None

    def example_weights(self):
        """The weight of each example of the step that this thread is at, `[B]`; None where all count alike."""
        return getattr(_step, "sample_weight", None)

    def add_terms(self, terms, training):
        """Adds each term's weighted mean over the batch to the model's losses."""
        weights, sample_weight = weights_at(self.objective, self.step_of(training)), self.example_weights()
        for name, value in terms.items():
            if sample_weight is not None:
                value = value * ops.cast(sample_weight, value.dtype)
            self.add_loss(ops.cast(weights[name], value.dtype) * ops.mean(value))

    def train_step(self, data):
        with weighted_step(data):
            return super().train_step(data)

    def test_step(self, data):
        with weighted_step(data):
            return super().test_step(data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # First, for older Keras runs replicas in turns, and the next one's begins where a metric is updated: it would
        # put its losses in place of these.
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, training=training)
        self._update_trackers(y_pred)
        return loss

    def loss_of(self, batch):
        """The loss of `(x, y, sample_weight)`, as a training step has it; of the model's state it changes nothing."""
        x, y, sample_weight = batch
        with weighted_step(batch), keras.StatelessScope(collect_losses=True):
            return self.compute_loss(x=x, y=y, y_pred=self(x, training=True), sample_weight=sample_weight)

    def track(self, x, sample_weight, size, training):
        """The loss of a replica's share of a batch, `size` examples, with all metrics updated."""
        with weighted_step((x, None, sample_weight)):
            y_pred = self(x, training=training)
            # Not `super().compute_loss`, which divides by the number of replicas, as if their shares were equal.
            loss = ops.sum(ops.stack(self.losses))
            self._update_trackers(y_pred)
            compat.loss_tracker_of(self).update_state(ops.where(size > 0, loss, 0.0), sample_weight=size)
            self.compute_metrics(x, None, y_pred, sample_weight)
        return loss

    def _update_trackers(self, y_pred):
        # Not in `call`, which `predict` runs too; and an example at a time, so that a short batch counts for what it
        # holds.
        if not isinstance(y_pred, dict) or not set(self.term_trackers) <= set(y_pred):
            found = sorted(map(str, y_pred)) if isinstance(y_pred, dict) else f"a {type(y_pred).__name__}"
            raise ValueError(
                f"{type(self).__name__}: expected `call` to return a dictionary with the terms "
                f"{list(self.term_trackers)}, [batch] each; received {found}. Keep what super().call(x, training) "
                "returns."
            )
        sample_weight = self.example_weights()
        for name, tracker in [*self.term_trackers.items(), *self.part_trackers.items()]:
            tracker.update_state(y_pred[name], sample_weight)
        self.elbo_tracker.update_state(elbo_of(y_pred), sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # What `compile(metrics=...)` compares: x itself with its reconstruction.
        return super().compute_metrics(x, pick(x, self.target), y_pred["reconstruction"], sample_weight)

    def reset_metrics(self):
        # A Mean's reset goes through Keras's checks variable by variable: on small data, a few hundredths of an epoch.
        means = [metric for metric in self.metrics if type(metric) is keras.metrics.Mean]
        backend.set_to_zero([variable for metric in means for variable in metric.variables])
        for metric in self.metrics:
            if metric not in means:
                metric.reset_state()

    def get_metrics_result(self):
        """What the metrics say; and what likelihood and objective have learned beside networks, such as sigma."""
        return {**super().get_metrics_result(), **self.learned_values()}

    def epoch_logs(self, logs):
        # Keras computes every result anew, in case a step ran late or returned something else. An epoch without a batch
        # has the logs of the one before.
        return logs if self.has_standard_steps and logs and self.elbo_tracker.count > 0 else None


def iterations_of(model):
    """The count of steps of a model's optimizer, a variable; None for what has no optimizer."""
    # Older Keras leaves a loss-scaling optimizer's own count at 0.
    return getattr(main_optimizer(getattr(model, "optimizer", None)), "iterations", None)


@contextlib.contextmanager
def weighted_step(data):
    """Within, a step's sample weights are known to `TermModel.add_terms`.

    Args:
        data: `(x, y, sample_weight)`, as a step is given it.

    Raises:
        ValueError: the weights are not one number an example.
    """
    _, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    before = getattr(_step, "sample_weight", None)
    _step.sample_weight = None if sample_weight is None else contract.check_sample_weight(sample_weight)
    try:
        yield
    finally:
        _step.sample_weight = before
