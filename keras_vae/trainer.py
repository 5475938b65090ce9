"""How a model of weighted terms trains through Keras: `compile`, `fit`, `evaluate`, `summary`."""

from typing import Any

import keras

from keras_vae import compat
from keras_vae.checks import check_epochs, check_fraction, check_integer, check_optional_integer
from keras_vae.data import contract, kinds
from keras_vae.data.data_check import DataCheck
from keras_vae.data.parts import pick
from keras_vae.engine import Engine, Feed, split_off_validation
from keras_vae.engine.feeding import ARGUMENTS, shown_to
from keras_vae.terms import TermModel


class Trainer(TermModel):
    """A `TermModel` that is trained by `fit` on x alone, by steps that its engine runs.

    Args:
        objective, target: as of `TermModel`.
    """

    def __init__(self, objective, target=None, **kwargs):
        super().__init__(objective, target, **kwargs)
        self.engine = Engine(self)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        *,
        jit_compile: bool | str = "auto",
        steps_per_execution: int | str = "auto",
        **kwargs,
    ) -> None:
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
            check_integer("compile", "steps_per_execution", steps_per_execution)
        self.compile_request = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        self.compile_reason = "as asked"
        if jit_compile == "auto" and not kwargs.get("run_eagerly"):
            jit_compile, self.compile_reason = self.engine.best_compilation()
        steps = 1 if steps_per_execution == "auto" else steps_per_execution
        with self.distribute_strategy.scope():
            super().compile(optimizer, jit_compile=jit_compile, steps_per_execution=steps, **kwargs)
        self.engine.adapt_optimizer()
        self.engine.forget_programs()

    def get_compile_config(self):
        config = super().get_compile_config()
        return config and {**config, **self.compile_request}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: dict | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | list[int] = 1,
        check_data: bool = True,
    ) -> keras.callbacks.History:
        """Trains the model: `keras.Model.fit`, on x alone; labels are ignored.

        `sample_weight` weights each example's terms: in the loss by Keras's convention (weighted sum over the batch
        size), in the metrics as a weighted mean.

        With `steps_per_epoch` below their number of batches, an epoch over arrays begins where the last one ended, and
        goes round at their end.

        Args:
            x: data as `keras.Model.fit` takes it: arrays, a `tf.data.Dataset`, a `PyDataset`, a generator.
            y: ignored, but by a step of one's own and by `class_weight`.
            batch_size, epochs, verbose, callbacks, validation_split, validation_data, shuffle, class_weight,
                sample_weight, initial_epoch, steps_per_epoch, validation_steps, validation_batch_size,
                validation_freq: as of `keras.Model.fit`.
            check_data: False to trust the data unseen. By default arrays are looked at before training, and batches
                that come from elsewhere before they are trained on, for values that the likelihood cannot score.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: the model is not compiled; an argument is not as Keras has it; the data is empty, not finite,
                outside the likelihood's support, or of another shape than the decoder's event.
        """
        given = arguments_of_keras(locals())
        self._check_compiled("fit")
        for name in ("batch_size", "validation_batch_size", "steps_per_epoch", "validation_steps"):
            check_optional_integer("fit", name, given[name])
        check_fraction("fit", "validation_split", validation_split)
        split_off_validation(given)
        if given["validation_data"] is not None:
            given["validation_freq"] = check_epochs("fit", "validation_freq", validation_freq)
        with DataCheck(self, enabled=check_data) as check:
            feeds = [self._feed(given, check, "x", batch_size, "steps_per_epoch")]
            if given["validation_data"] is not None:
                parts = keras.utils.unpack_x_y_sample_weight(given["validation_data"])
                validation = dict(zip(ARGUMENTS, parts, strict=True), steps=validation_steps)
                feeds.append(self._feed(validation, check, "validation x", validation_batch_size or batch_size))
            with (
                shown_to(callbacks, [(feed.given["x"], feed.given.get("y")) for feed in feeds]),
                self.engine.feeding(feeds, callbacks, shuffle=shuffle),
            ):
                if given["validation_data"] is not None:
                    given["validation_steps"] = validation["steps"]
                    given["validation_data"] = tuple(validation[part] for part in ARGUMENTS)
                with self.engine.counting(given):
                    history = super().fit(**given)
            if history.epoch and not history.history:  # a stream that nobody could know to be empty
                raise kinds.empty("x")
            return history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        check_data: bool = True,
        **kwargs,
    ) -> float | list[float] | dict[str, float]:
        """The loss and the metrics on data: `keras.Model.evaluate`, weights as in `fit`.

        Args:
            x, y: as of `fit`.
            batch_size, verbose, sample_weight, steps, callbacks, return_dict, **kwargs: as of `keras.Model.evaluate`.
            check_data: False to trust the data unseen, as in `fit`.

        Raises:
            ValueError: as in `fit`.
        """
        given = arguments_of_keras(locals())
        if compat.WITHIN_FIT in kwargs:  # which has looked at the data
            return super().evaluate(**given, **kwargs)
        self._check_compiled("evaluate")
        check_optional_integer("evaluate", "batch_size", batch_size)
        check_optional_integer("evaluate", "steps", steps)
        with DataCheck(self, enabled=check_data) as check:
            feed = self._feed(given, check, "x", batch_size)
            with self.engine.feeding([feed], callbacks, phases=("test",)):
                result = super().evaluate(**given, **kwargs)
            if self.elbo_tracker.count == 0:
                raise kinds.empty("x")
            return result

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> dict[str, Any]:
        """What the model makes of data: `{"reconstruction": [N, *event], **terms [N]}`, of one draw of z an example.

        Args:
            x, batch_size, verbose, steps, callbacks: as of `keras.Model.predict`.
        """
        check_optional_integer("predict", "batch_size", batch_size)
        check_optional_integer("predict", "steps", steps)
        if kinds.holds_arrays(x) and self.event_shape is not None:
            contract.check_event(self.event_shape, pick(x, self.target))
        x, batch_size, steps = self.engine.batches_to_predict(x, batch_size, steps)
        return super().predict(x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks)

    def prepare_data(self, given, check, name):
        """Readies the x, y and sample_weight among a method's arguments: builds the model for x, and looks at the data.

        Returns the spec of x, or None where it cannot be known: see `keras_vae.data.kinds.peek`.
        """
        batch, given["x"] = kinds.peek(given.get("x"), given.get("y"), given.get("sample_weight"))
        spec = batch[0]
        if not self.built and spec is not None:
            self.build_for(spec)
        self.engine.check_variables()
        self._choose_compilation()
        if spec is not None and self.event_shape is not None:
            contract.check_event(self.event_shape, pick(spec, self.target))
        if spec is not None and "y" in given:
            self.engine.build_for_loss(batch)
        if spec is not None and self.engine.is_replicated and self.compiled:
            self.engine.make_ready((spec,))
        given["x"] = check(given["x"], name)
        if kinds.holds_arrays(given["x"]) and given.get("sample_weight") is not None:
            check.finite(given["sample_weight"], "sample_weight")
        return spec

    def summary(self, *args, print_fn=None, **kwargs):
        """Prints a summary, as `keras.Model.summary`, how training steps are compiled, and where the KL comes from."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        if self.compiled:
            (print_fn or print)(f"Training steps: {self.compilation}")
        if self.known.kl is not None:
            (print_fn or print)(f"KL: {self.known.kl}")

    @property
    def compilation(self):
        """How training steps are compiled, and why, in words."""
        if self.run_eagerly:
            return "run eagerly, as asked"
        if not self.jit_compile:
            return f"loss ops as XLA programs, networks outside ({self.compile_reason})"
        where = " a replica, the optimizer outside" if self.engine.is_replicated else ""
        return f"one XLA program{where} ({self.compile_reason})"

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            super().make_train_function(force=True)
            self.train_function = self.engine.step_function(self.train_step, self.train_function, training=True)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            super().make_test_function(force=True)
            self.test_function = self.engine.step_function(self.test_step, self.test_function, training=False)

    def make_predict_function(self, force=False):
        if self.predict_function is None or force:
            self.predict_function = self.engine.predict_function(self)
            if self.predict_function is None:
                super().make_predict_function(force=True)

    def forget_steps(self):
        """Has programs traced anew that know the objective which the model had."""
        self.engine.forget_programs()
        if self.train_function is not None:
            self.make_train_function(force=True)
        if self.test_function is not None:
            self.make_test_function(force=True)
        self.predict_function = None

    def builds_from_data(self):
        return self.engine.builds_from_data()

    def _check_compiled(self, method):
        if not self.compiled:
            raise ValueError(
                f"{method}: expected a compiled model; received one that is not. You must call `compile()`."
            )

    def _feed(self, given, check, name, batch_size, steps_name="steps"):
        """What is known of the data among a method's arguments, once it is readied."""
        return Feed(given, self.prepare_data(given, check, name), batch_size, steps_name)

    def _choose_compilation(self):
        """Chooses anew how steps are compiled, if that was left to the model: now that all layers are there."""
        if not self.compiled or self.compile_request["jit_compile"] != "auto" or self.run_eagerly:
            return
        best, self.compile_reason = self.engine.best_compilation()
        if best != self.jit_compile:
            self.jit_compile = best
            self.train_function = self.test_function = self.predict_function = None


def arguments_of_keras(given):
    """The arguments that Keras's method takes too, from the local variables at a method's first line."""
    return {name: value for name, value in given.items() if name not in ("self", "check_data", "kwargs", "__class__")}
