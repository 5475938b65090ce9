"""Where the noise of a pass comes from: training's own stream, and one that each evaluation or prediction begins anew.

    fit                  seed, 0, 1, 2, ...      goes on, and a file keeps where it is
    evaluate, predict    key of it, 0, 1, ...    from the beginning at each call: the same data, the same numbers

So what is evaluated changes nothing in what is learned, and `predict` gives the terms that `evaluate` averages.
"""

import contextlib
import threading

import keras

from keras_vae import backend

_place = threading.local()


class Noise:
    """The seeds of a model's passes.

    Args:
        training: the `SeedGenerator` of training, from whose first number the others' is made.

    Attributes:
        evaluation, prediction: the `SeedGenerator`s of the others, each with a place of its own; a model must hold them
            as its own attributes, too.
        predicting: held by a thread from the beginning to the end of a `predict`.
    """

    def __init__(self, training):
        self.training = training
        self.evaluation, self.prediction = keras.random.SeedGenerator(0), keras.random.SeedGenerator(0)
        self.predicting = threading.RLock()

    def next_seed(self, training):
        """The seed of a pass, int32 `[2]`: of a step that trains; of one that does not; or of a call by hand, None."""
        if training is None or training:
            return backend.stateless_seed(self.training)
        return backend.stateless_seed(self.prediction if getattr(_place, "predicts", False) else self.evaluation)

    def restart(self, generator):
        """Begins the stream of evaluation or of prediction anew."""
        generator.state.assign([self.key_of(backend.initial_seed(self.training)), 0])

    @staticmethod
    def key_of(number):
        """The first number of these streams: another than training's, and a function of it."""
        return (number * 2654435761 + 1) % 2**31

    @contextlib.contextmanager
    def of_prediction(self):
        """Within, on this thread, passes draw from the stream of `predict`."""
        before = getattr(_place, "predicts", False)
        _place.predicts = True
        try:
            yield
        finally:
            _place.predicts = before
