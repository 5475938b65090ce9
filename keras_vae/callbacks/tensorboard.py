"""A callback that shows what a VAE learns in TensorBoard."""

import importlib.util
import math
import os
import time

import numpy as np
import tensorflow as tf
from keras import ops

from keras_vae import backend, compat
from keras_vae.callbacks import descriptions, projector, summaries
from keras_vae.callbacks.examples import Watching, check_vae, check_writable, inspector_for
from keras_vae.callbacks.hparams import check_hparams, end_session, start_session
from keras_vae.callbacks.views import Views, part_title
from keras_vae.callbacks.warn_instead import warn_instead
from keras_vae.checks import check_integer
from keras_vae.evaluation import ACTIVE_ABOVE
from keras_vae.objectives.values import Schedule, value_at


class TensorBoard(Watching, compat.TensorBoard):
    """Writes what `keras.callbacks.TensorBoard` does, and beside it what one asks of a VAE while it trains.

    Every `vae_freq` epochs it looks at a few fixed examples, with the same noise each time. It writes, to the run
    `train` unless another is named:

    - scalars: Keras's `epoch_loss`, `epoch_elbo`, `epoch_nll`, `epoch_kl`, learned sigmas and what an objective has
      learned, for training and for validation. For both, `epoch_bits_per_dimension`, which is -ELBO / (D log 2) for an
      x of D numbers.
    - scalars of training: `training/gradient_norm`, of the loss on the examples; `training/examples_per_second`. Each
      weight of a term that moves has one, `weight/kl`, say. It may follow a schedule, be learned, or be set while the
      model trains. So has each constant of the objective, `constant/capacity`, say, but a schedule that is itself the
      weight of a term.
    - scalars of the examples: `latent/active_units`, those with Var(E[u|x]) > 0.01; `latent/mutual_information`, an
      estimate of I(x; z) in nats, at most the log of their number. Where sigma is a function of z,
      `likelihood/stddev_mean`, `_min` and `_max`.
    - images, in one group, `pictures/`: `reconstructions` beside the originals, `samples` of the prior, and a
      `traversal`. If there are two latents, the `manifold`, and where sigma varies over x, `sigma`. Each part of a
      `Joint`'s x has its own: `pictures/samples/age`.
    - histograms: `latent/kl`, the KL(q(u|x) || p(u)) of each unit u on its own, in nats, averaged over the examples. It
      is exact where posterior and prior are Gaussian. Where they have independent elements of another family, it is a
      mean over 100 draws. Elsewhere, under a flow say, it is left out. `latent/mean` and `latent/stddev` are of q(z|x).
      Draws of q(z|x) for all examples, `latent/aggregate_posterior`, stand against `latent/prior`.
    - the projector: the examples' posterior means, with labels and thumbnails. It has their latest state alone.
    - text: `summary` and `configuration` of the model, and `latent/units`, a table of what each is used for, and of how
      its KL was found.
    - HParams: the configuration and `hparams`, by which runs are compared. What the objective was made with has names
      such as `objective/beta`; of a `Sum`, `objective/MMD/weight`. To compare, serve the folder above `log_dir`:
      `tensorboard --logdir logs` for runs in `logs/run_1` and so on.

        vae.fit(x, validation_data=x, epochs=1, callbacks=[keras_vae.callbacks.TensorBoard(f"{folder}/run_1")])

    Args:
        log_dir: the folder of this run: `logs/run_1`, say, beside others.
        vae_freq: epochs between two looks, of which one is after the last epoch; 0 for Keras's own summaries alone.
        examples: x, as the encoder takes it, of `[N, ...]`. Default: the first 512 of the data that `fit` validates on
            (fewer of large ones), or else, if they are arrays, trains on; of a stream that it trains on, which only
            training reads, those of the steps that end the first epoch.
        labels: `[N]`, of the examples, for the projector. Default: the data's y, if that is one number or word each.
        shape: what shape to see an x in, if not its own: (28, 28, 1) for 784 pixels in a row; of an x of several parts
            a dictionary.
        hparams: a dictionary of numbers and words to compare runs by, beside the model's configuration. The table has
            the columns of the run that TensorBoard meets first: give all runs the same names.
        **kwargs: as of `keras.callbacks.TensorBoard`.

    Raises:
        ImportError: TensorBoard is not installed; at the start of `fit`, if x is to be plotted and matplotlib is not.
        ValueError: an argument is not as above; at the start of `fit`, if the model is no VAE, the examples or the
            labels do not fit, or the folder cannot be written.
    """

    def __init__(self, log_dir="logs", vae_freq=1, examples=None, labels=None, shape=None, hparams=None, **kwargs):
        if not importlib.util.find_spec("tensorboard"):
            raise ImportError(
                "TensorBoard: expected the package tensorboard, which writes what it shows; it is not installed. To "
                'install it: pip install "keras_vae[tensorboard]"'
            )
        super().__init__(log_dir, **kwargs)
        check_hparams(hparams)
        self.vae_freq = check_integer("TensorBoard", "vae_freq", vae_freq, least=0)
        self.examples = examples
        self.labels = labels
        self.shape = shape
        self.hparams = hparams

    def set_model(self, model):
        check_vae("TensorBoard", model)
        self._is_chief = backend.is_chief(model.distribute_strategy)
        self._looks = self._is_chief and bool(self.vae_freq)
        if self._is_chief:
            check_writable("TensorBoard", "log_dir", self.log_dir)
        else:
            self.embeddings_freq = 0
        super().set_model(model)
        self._views = self._sprite = None
        self._x = self._labels = None
        self._is_described = self._has_session = False
        self._before = {tag: number for tag, (number, _) in constants(model.objective).items()}
        self._moving = set()  # weights and constants that have not stayed what they were
        self._began = self._rate = None
        self._epoch = self._looked_at = None
        if self._looks and model.built:
            self.find_examples()

    def look_at(self, x, labels):
        self._x, self._labels = x, labels
        inspector = inspector_for("TensorBoard", self.model, x, self.examples)
        if inspector is not None:
            self._views = Views("TensorBoard", inspector, self.shape)

    def writes(self):
        return self._is_chief  # of several workers it alone

    def _run_writer(self):
        """The writer of the folder itself, where HParams looks for what its sub-folders, the runs, have in common."""
        return self.writer_of("run", self.log_dir)

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._began, self._rate = time.perf_counter(), None

    def on_test_begin(self, logs=None):
        self._note_rate()  # while the count is training's still
        with warn_instead("TensorBoard", "begin its summaries of validation"):
            super().on_test_begin(logs)

    def on_test_end(self, logs=None):
        with warn_instead("TensorBoard", "write its summaries of validation"), tf.summary.record_if(True):
            super().on_test_end(logs)

    def write_graph_of_training(self):
        with warn_instead("TensorBoard", "write the graph of a training step"), tf.summary.record_if(True):
            super().write_graph_of_training()

    def on_epoch_end(self, epoch, logs=None):
        self._note_rate()
        with tf.summary.record_if(True):  # whatever batch it ends at: an `update_freq` is of batches
            self._write_epoch(epoch, logs or {})

    def _write_epoch(self, epoch, logs):
        with warn_instead("TensorBoard", f"write Keras's summaries of epoch {epoch + 1}"):
            super().on_epoch_end(epoch, logs)
        if not self._looks:
            return
        self._epoch = epoch
        if not self._is_described:
            self._is_described = True
            self._describe()
        with warn_instead("TensorBoard", f"write scalars of epoch {epoch + 1}"):
            self._write_scalars(epoch, logs)
        if epoch % self.vae_freq == 0:
            self._look()

    def _look(self):
        """Looks at the examples, as they are after the last epoch."""
        epoch = self._looked_at = self._epoch
        if self._views is None and (self._x is None or self.examples is not None):
            with warn_instead("TensorBoard", "find examples"):
                self.find_examples()
        if self._views is None:
            return
        with warn_instead("TensorBoard", f"look at the examples after epoch {epoch + 1}"):
            latents = self._views.inspector.latents()
            with self.train_writer().as_default(step=epoch):
                with warn_instead("TensorBoard", f"write what the latents are after epoch {epoch + 1}"):
                    self._write_latents(latents)
                for view in self._views.draw(latents):
                    summaries.image(f"pictures/{view.name}", view.pixels, view.text)
            self._write_points(latents)
            self.train_writer().flush()

    def on_train_end(self, logs=None):
        if self._epoch != self._looked_at:  # the model as it ends
            with tf.summary.record_if(True):
                self._look()
        if self._has_session:
            with (
                warn_instead("TensorBoard", "end the session"),
                tf.summary.record_if(True),
                self._run_writer().as_default(step=0),
            ):
                end_session()
        with warn_instead("TensorBoard", "end its files"):
            super().on_train_end(logs)

    def _note_rate(self):
        """Notes the examples a second of the epoch's training, once, before validation begins."""
        if self._began is not None and self._rate is None:
            self._rate = self.model.examples_seen() / (time.perf_counter() - self._began)

    def _describe(self):
        with warn_instead("TensorBoard", "summarise the model"), self.train_writer().as_default(step=0):
            tf.summary.text("summary", descriptions.summary_as_markdown(self.model))
        with warn_instead("TensorBoard", "write the configuration"):
            found = {**descriptions.configuration(self.model), **(self.hparams or {})}
            with self._run_writer().as_default(step=0):
                start_session(found, name=os.path.basename(os.path.normpath(self.log_dir)))
            self._run_writer().flush()
            self._has_session = True
            with self.train_writer().as_default(step=0):
                tf.summary.text("configuration", descriptions.as_markdown(self.model, found))

    def _write_scalars(self, epoch, logs):
        vae = self.model
        bits = 1.0 / (math.log(2.0) * dimensions(vae.event_shape))
        with self.train_writer().as_default(step=epoch):
            tf.summary.scalar("epoch_bits_per_dimension", -logs["elbo"] * bits)
            tf.summary.scalar("training/examples_per_second", self._rate)
            for tag, (number, is_schedule) in constants(vae.objective, vae.iteration).items():
                if is_schedule or number != self._before.get(tag):
                    self._moving.add(tag)
                if tag in self._moving:
                    tf.summary.scalar(tag, number)
        if "val_elbo" in logs:
            with self.validation_writer().as_default(step=epoch):
                tf.summary.scalar("epoch_bits_per_dimension", -logs["val_elbo"] * bits)

    def _write_latents(self, latents):
        """Writes scalars, histograms and a table of the latents, into the writer that is the default."""
        if len(latents.mean) > 1:  # what one example has does not vary
            tf.summary.scalar("latent/active_units", (latents.activity > ACTIVE_ABOVE).sum())
            tf.summary.scalar("latent/mutual_information", self._views.inspector.mutual_information())
        tf.summary.scalar("training/gradient_norm", self._views.inspector.gradient_norm())
        for name, stddev in self._views.sigmas(latents).items():
            for reduce in ("mean", "min", "max"):
                tf.summary.scalar(part_title(f"likelihood/stddev_{reduce}", name), getattr(np, reduce)(stddev))
        if latents.kl is not None:
            summaries.histogram("latent/kl", latents.kl.mean(axis=0), descriptions.kl_in_words(latents))
        summaries.histogram("latent/mean", latents.mean)
        summaries.histogram("latent/stddev", latents.stddev)
        summaries.histogram("latent/aggregate_posterior", latents.draw)
        summaries.histogram("latent/prior", latents.prior_draw)
        tf.summary.text("latent/units", descriptions.units_as_markdown(latents))

    def _write_points(self, latents):
        points = latents.mean.reshape(len(latents.mean), -1)
        if self._sprite is None:
            pixels, size = self._views.sprite()
            self._sprite = summaries.png(pixels).numpy(), size
        projector.write(self.train_folder(), "posterior_means", points, self._labels, self._sprite)


def constants(objective, step=None):
    """The numbers that an objective has at a step, as `{tag: (number, whether it is a schedule's)}`."""
    found = {f"weight/{name}": weight for name, weight in objective.term_weights.items()}
    # A schedule that is itself a weight is there already. Numbers that are equal may be set apart at any time.
    weights = {id(weight) for weight in found.values() if isinstance(weight, Schedule)}
    others = {name: each for name, each in objective.constants().items() if id(each) not in weights}
    found |= {f"constant/{name}": constant for name, constant in others.items()}
    return {
        tag: (float(ops.convert_to_numpy(value_at(constant, step))), isinstance(constant, Schedule))
        for tag, constant in found.items()
    }


def dimensions(event_shape):
    """How many numbers of one x are scored."""
    shapes = event_shape.values() if isinstance(event_shape, dict) else [event_shape]
    return sum(math.prod(shape) for shape in shapes)
