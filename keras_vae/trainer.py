"""How a model of weighted terms trains through Keras: `fit`, `evaluate`, `predict`."""

from typing import Any

import keras

from keras_vae import compat
from keras_vae.building import takes_one
from keras_vae.checks import check_epochs, check_fraction, check_optional_integer
from keras_vae.compiling import Compiled
from keras_vae.data import contract, kinds
from keras_vae.data.data_check import DataCheck
from keras_vae.data.intake import as_arrays, columns_of, one_array, taken_in
from keras_vae.data.parts import pick
from keras_vae.engine import Feed, split_off_validation
from keras_vae.engine.feeding import ARGUMENTS, shown_to


class Trainer(Compiled):
    """A model that is trained by `fit` on x alone.

    Args:
        objective, target: as of `keras_vae.terms.TermModel`.
    """

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
            RuntimeError: another thread is at a `fit` or an `evaluate` of this model.
            ValueError: the model is not compiled; an argument is not as Keras has it; the data is empty, not finite,
                outside the likelihood's support, or of another shape than the decoder's event.
        """
        given = arguments_of_keras(locals())
        self.check_compiled("fit")
        for name in ("batch_size", "validation_batch_size", "steps_per_epoch", "validation_steps"):
            check_optional_integer("fit", name, given[name])
        check_fraction("fit", "validation_split", validation_split)
        is_first = int(keras.ops.convert_to_numpy(self.iteration)) == 0
        with self.engine.turns.alone("fit"), DataCheck(self, enabled=check_data, is_training=is_first) as check:
            self.take_in(given, check, "x")
            split_off_validation(given)
            feeds = [self._feed(given, check, "x", batch_size, "steps_per_epoch")]
            self.known.num_examples = feeds[0].num_examples
            self.objective.prepare(feeds[0].num_examples)
            if given["validation_data"] is not None:
                given["validation_freq"] = check_epochs("fit", "validation_freq", validation_freq)
                parts = keras.utils.unpack_x_y_sample_weight(one_array(given["validation_data"]))
                validation = dict(zip(ARGUMENTS, parts, strict=True), steps=validation_steps)
                self.take_in(validation, check, "validation x")
                feeds.append(self._feed(validation, check, "validation x", validation_batch_size or batch_size))
            self.choose_compilation(check.has_sparse)
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

        The noise of the latents begins anew at each call, and is apart from training's. So the same data in the same
        batches gives the same numbers, and validation changes nothing in what is learned. Calls from several threads
        wait for each other; while another thread is at a `fit` it is a RuntimeError.

        Args:
            x, y: as of `fit`.
            batch_size, verbose, sample_weight, steps, callbacks, return_dict, **kwargs: as of `keras.Model.evaluate`.
            check_data: False to trust the data unseen, as in `fit`.

        Raises:
            ValueError: as in `fit`.
        """
        given = arguments_of_keras(locals())
        if compat.WITHIN_FIT in kwargs:  # which has looked at the data
            self.noise.restart(self.noise.evaluation)
            return super().evaluate(**given, **kwargs)
        self.check_compiled("evaluate")
        check_optional_integer("evaluate", "batch_size", batch_size)
        check_optional_integer("evaluate", "steps", steps)
        with self.engine.turns.alone("evaluate"), DataCheck(self, enabled=check_data) as check:
            self.noise.restart(self.noise.evaluation)
            self.take_in(given, check, "x")
            feed = self._feed(given, check, "x", batch_size)
            self.objective.prepare(None)
            if not self.engine.turns.is_training:
                self.choose_compilation(check.has_sparse)
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
        """What the model makes of data: `{"reconstruction": [N, *event], **terms [N]}`, as NumPy arrays.

        The same data in batches of one size gives the same numbers at each call. `reconstruction` is that of
        `reconstruct`: the decoder's point estimate at the posterior's mean. The terms, `nll` and `kl`, are of draws of
        z, as `evaluate` has them. Calls from several threads wait for each other.

        Args:
            x: as of `fit`.
            batch_size, verbose, steps, callbacks: as of `keras.Model.predict`.

        Raises:
            ValueError: x has another shape than the decoder's event.
        """
        check_optional_integer("predict", "batch_size", batch_size)
        check_optional_integer("predict", "steps", steps)
        x = taken_in(x, "x", self.target)
        contract.check_rows(x)
        if kinds.holds_arrays(x) and self.event_shape is not None:
            contract.check_event(self.event_shape, pick(x, self.target))
        self.objective.prepare(None)
        held = x  # by this: a data set reads a file's by way of a reference that does not hold it
        x, batch_size, steps = self.engine.batches_to_predict(held, batch_size, steps)
        with self.noise.predicting:
            self.noise.restart(self.noise.prediction)
            return super().predict(x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks)

    def predict_on_batch(self, x):
        """The outputs for one batch: `keras.Model.predict_on_batch`, repeatable as `predict` is."""
        with self.noise.predicting:
            self.noise.restart(self.noise.prediction)
            return super().predict_on_batch(x)

    def predict_step(self, data):
        with self.noise.of_prediction():
            outputs = super().predict_step(data)
        # A model of one's own may return something else, or decode by more than z.
        if (
            isinstance(outputs, dict)
            and "reconstruction" in outputs
            and takes_one(self.encode)
            and takes_one(self.decode)
        ):
            x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
            outputs = {**outputs, "reconstruction": self.reconstruct(x)}
        return outputs

    def take_in(self, given, check, name):
        """Makes of the data among a method's arguments what the rest reads: see `keras_vae.data.intake`."""
        check.columns.update(columns_of(given.get("x"), name))
        given["x"] = taken_in(given.get("x"), name, self.target)
        for beside in ("y", "sample_weight"):
            if given.get(beside) is not None:
                given[beside] = as_arrays(given[beside])

    def prepare_data(self, given, check, name, is_whole=True):
        """Readies data that was taken in: builds the model for x, and looks at the data.

        Args:
            given: a method's arguments, by name.
            check: a `DataCheck`.
            name: what to call x.
            is_whole: whether x has the part that is scored.

        Returns the spec of x, or None where it cannot be known: see `keras_vae.data.kinds.peek`.
        """
        batch, given["x"] = kinds.peek(given.get("x"), given.get("y"), given.get("sample_weight"))
        spec = None if batch is None else kinds.spec_of(batch[0])
        contract.check_rows(given["x"], name)
        if not self.built and spec is not None:
            self.build_for(spec)
        self.engine.check_variables()
        check.has_sparse = check.has_sparse or (batch is not None and kinds.has_sparse(batch[0]))
        if spec is not None and self.event_shape is not None and is_whole:
            contract.check_parts(self.x_spec, spec, name)
            contract.check_event(self.event_shape, pick(spec, self.target))
        if spec is not None and "y" in given:
            self.engine.build_for_loss(batch)
        if spec is not None and self.engine.is_replicated and self.compiled and is_whole:
            self.engine.make_ready((spec,))
        if self.has_standard_steps and given.get("class_weight") is None:
            check.targets(batch, given)
        given["x"] = check(given["x"], name)
        if kinds.holds_arrays(given["x"]) and given.get("sample_weight") is not None:
            check.weights(given["sample_weight"])
        return spec

    def _feed(self, given, check, name, batch_size, steps_name="steps"):
        """What is known of the data among a method's arguments, once it is readied."""
        return Feed(given, self.prepare_data(given, check, name), batch_size, steps_name)


def arguments_of_keras(given):
    """The arguments that Keras's method takes too, from the local variables at a method's first line."""
    return {name: value for name, value in given.items() if name not in ("self", "check_data", "kwargs", "__class__")}
