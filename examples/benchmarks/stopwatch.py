"""How long epochs take."""

import time

import keras


class Stopwatch(keras.callbacks.Callback):
    """Seconds from each epoch's beginning to the next one's, or to the end; stands before all others."""

    def on_train_begin(self, logs=None):
        self.marks = [time.perf_counter()]

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            self.marks.append(time.perf_counter())

    def on_train_end(self, logs=None):
        self.marks.append(time.perf_counter())

    @property
    def seconds(self):
        return [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]
