"""A callback that warns, once and in words, of what goes wrong while a VAE trains."""

import math
import warnings

import keras
import numpy as np

from keras_vae.callbacks.examples import Watching, check_vae, inspector_for
from keras_vae.callbacks.not_finite import Replay
from keras_vae.callbacks.views import likelihood_layer
from keras_vae.callbacks.warn_instead import warn_instead
from keras_vae.checks import check_flag, check_integer, is_number
from keras_vae.engine import not_finite
from keras_vae.evaluation import ACTIVE_ABOVE

# A sigma, which approaches its floor smoothly, is at it within this factor.
NEAR = 1.1
# Examples below whose number a variance says little.
FEWEST = 32


class CollapseAlarm(Watching, keras.callbacks.Callback):
    """Warns when training goes wrong in one of four ways, once for each in a `fit`, and says what to do.

    - **Posterior collapse**: fewer than `min_active` latents are active, for `patience` epochs in a row. A latent is
      active if the variance over the examples of its posterior mean is above 0.01 (arXiv 1509.00519, section 5.2).
    - **A variance at its floor**: for most of the examples, sigma of some elements of x is within a tenth of its floor.
      That alone keeps the negative log-likelihood from going to minus infinity.
    - **KL exploding**: over an epoch the KL is above `max_kl` nats a latent, and was lower before.
    - **A term that is not finite**: it says which term, in which batch, and which layer's output was the first. Or it
      says that it was a gradient of the batch before. To tell, it keeps copies of weights and optimizer as they were
      before the last two blocks of batches, and runs the blocks again. In eager mode, on several devices, or with a
      step of one's own, it names the term alone.

        vae.fit(x, epochs=1, callbacks=[keras_vae.callbacks.CollapseAlarm()])

    Args:
        min_active: how many latents should be active. Default: a tenth of them, rounded up.
        patience: epochs in a row.
        max_kl: nats a latent. An example is told from a billion others by 21 nats in all.
        stop: True to stop training at a term that is not finite, in the state from before the batch where it is known.
        examples: x, as the encoder takes it, `[N, ...]`, by which the first two are judged; the first by no fewer than
            32. Default: as of `TensorBoard`.

    Raises:
        ValueError: an argument is not as above; at the start of `fit`, if the model is no VAE or the examples do not
            fit.
    """

    takes_blocks = True  # it need not see each batch
    explains_not_finite = True  # so that `fit` need not

    def __init__(self, min_active=None, patience=3, max_kl=20.0, stop=False, examples=None):
        super().__init__()
        if not is_number(max_kl) or not max_kl > 0:
            raise ValueError(f"CollapseAlarm: expected `max_kl` to be a positive number; received: {max_kl!r}")
        self.min_active = None if min_active is None else check_integer("CollapseAlarm", "min_active", min_active)
        self.patience = check_integer("CollapseAlarm", "patience", patience)
        self.max_kl = max_kl
        self.stop = check_flag("CollapseAlarm", "stop", stop)
        self.examples = examples

    def set_model(self, model):
        check_vae("CollapseAlarm", model)
        super().set_model(model)
        self._inspector = None
        if model.built:
            latents = math.prod(model.prior.latent_shape)
            if self.min_active is not None and self.min_active > latents:
                raise ValueError(
                    f"CollapseAlarm: expected `min_active` to be at most the number of latents, {latents}; received: "
                    f"{self.min_active}"
                )
            self.find_examples()
        self._replay = Replay(model)
        self._given = set()  # alarms
        self._epochs_of_few, self._kl_before = 0, None

    def look_at(self, x, labels):
        self._inspector = inspector_for("CollapseAlarm", self.model, x, self.examples)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if "not finite" not in self._given:
            self._replay.before(batch)

    def on_train_batch_end(self, batch, logs=None):
        logs = logs or {}
        if self._kl_before is None:
            self._kl_before = logs.get("kl")
        bad = [name for name in self.model.objective.term_weights if not math.isfinite(logs.get(name, 0.0))]
        if "not finite" not in self._given:
            self._replay.after()
        if bad:
            self._explain(f"{' and '.join(bad)} by the end of batch {batch}, averaged over the epoch so far.")

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if not self._replay.has_finite_weights():  # since its last step, which no term has seen
            self._explain("weights by its end.")
        if "not finite" in self._given:
            return  # all else follows from it
        with warn_instead("CollapseAlarm", f"look at epoch {epoch + 1}"):
            self._check_kl(logs.get("kl"))
            if self._inspector is None:
                self.find_examples()
            if self._inspector is not None:
                latents = self._inspector.latents()
                self._check_activity(latents)
                self._check_sigma(latents)

    def _explain(self, found):
        """Warns of what is not finite, and of where it came from; if that is not known, of what was `found`."""
        if "not finite" in self._given:
            return
        with warn_instead("CollapseAlarm", "run the last batches again"):
            found = self._replay.explain(put_back=self.stop) or found
        self._warn("not finite", f"in epoch {self._epoch + 1}, {found}")
        if self.stop:
            self.model.stop_training = True

    def _check_kl(self, kl):
        latents = math.prod(self.model.prior.latent_shape)
        if kl is None or self._kl_before is None:
            return
        if kl > self.max_kl * latents and kl > self._kl_before:
            self._warn(
                "KL exploding",
                f"the KL is {kl:.4g} nats, {kl / latents:.4g} a latent, and was {self._kl_before:.4g} nats before.",
            )
        self._kl_before = kl

    def _check_activity(self, latents):
        if len(latents.mean) < FEWEST:
            return
        active, size = int((latents.activity > ACTIVE_ABOVE).sum()), latents.activity.size
        least = math.ceil(size / 10) if self.min_active is None else self.min_active
        self._epochs_of_few = self._epochs_of_few + 1 if active < least else 0
        if self._epochs_of_few >= self.patience:
            self._warn(
                "posterior collapse",
                f"{active} of {size} latents active for {self._epochs_of_few} epochs, of {len(latents.mean)} examples; "
                f"expected at least {least}. What the encoder finds, the decoder does not use.",
            )

    def _check_sigma(self, latents):
        for name, sigma in self._inspector.sigmas(latents.centre).items():
            floor = getattr(getattr(likelihood_layer(self.model, name), "scale", None), "floor", None)
            if floor is None:
                continue
            is_at_floor = np.mean(sigma <= NEAR * floor, axis=0) > 0.5
            if is_at_floor.any():
                of_part = f" of the part {name!r}" if name else ""
                self._warn(
                    "a variance at its floor",
                    f"for {int(is_at_floor.sum())} of {is_at_floor.size} elements of x{of_part} sigma has come down to "
                    f"its floor, {floor:g}: they are all but the same in every example, or reproduced exactly, and the "
                    "ELBO grows by them without end and without worth.",
                )

    def _warn(self, alarm, found):
        if alarm not in self._given:
            self._given.add(alarm)
            warnings.warn(f"CollapseAlarm: {alarm}: {found} {ADVICE[alarm]}", RuntimeWarning, stacklevel=2)


ADVICE = {
    "posterior collapse": (
        "Let the KL count less at first, by a schedule as ELBO(beta=...); learn sigma or fix a smaller one, since the "
        "larger it is, the less a reconstruction is worth; or weaken a decoder that does without z."
    ),
    "a variance at its floor": (
        "Use one sigma for all of x, scale=Shared(); or a floor as large as the data are precise, floor=...; or add "
        "noise of that size to the data. For grey levels there is DiscretizedLogistic, whose likelihood is bounded."
    ),
    "KL exploding": (
        "Lower the learning rate or clip the gradient, Adam(1e-4, clipnorm=1.0); scale x to about one; and see that no "
        "large weight multiplies the likelihood."
    ),
    "not finite": not_finite.ADVICE,
}
