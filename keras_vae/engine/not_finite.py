"""What is said, unasked, of an epoch whose terms are not finite; and the advice, which `CollapseAlarm` gives too."""

import math
import warnings

import keras

ADVICE = (
    "Lower the learning rate or clip the gradient, Adam(1e-4, clipnorm=1.0); scale x to about one, or start at its own "
    "scale, vae.adapt(x) before fit; raise a learned sigma's floor. With fit(check_data=False), see that the data are "
    "finite and within the likelihood's support."
)


class NotFiniteWarning(keras.callbacks.Callback):
    """Warns of the first epoch whose logs hold a term that is not finite, once in a `fit`.

    It looks at an epoch's logs alone, and costs nothing. A callback with `explains_not_finite = True` says more.

    Args:
        names: of the terms.
    """

    def __init__(self, names):
        super().__init__()
        self.names = ("loss", *names)
        self.is_given = False

    def on_epoch_end(self, epoch, logs=None):
        bad = [name for name in self._in_logs(logs or {}) if not math.isfinite(logs[name])]
        if not bad or self.is_given:
            return
        self.is_given = True
        warnings.warn(
            f"fit: not finite: in epoch {epoch + 1}, {' and '.join(bad)}, averaged over the epoch. {ADVICE} "
            "keras_vae.callbacks.CollapseAlarm() finds the batch and the layer where it begins.",
            RuntimeWarning,
            stacklevel=2,
        )

    def _in_logs(self, logs):
        """The names of the terms in the logs, training's and validation's."""
        return [f"{phase}{name}" for phase in ("", "val_") for name in self.names if f"{phase}{name}" in logs]


def is_explained(callbacks):
    """Whether one of the callbacks of `fit` explains a term that is not finite."""
    listed = getattr(callbacks, "callbacks", callbacks)  # of a CallbackList
    return any(getattr(each, "explains_not_finite", False) for each in keras.tree.flatten(listed or []))
