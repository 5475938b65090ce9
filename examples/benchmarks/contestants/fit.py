"""What the contestants that train through a `fit` share: Keras 3's or tf_keras's, which `self.keras` is."""

import time

import numpy as np
import tensorflow as tf

from contestants.base import DRAWS_AT_ONCE, SCORED_AT_ONCE, Contestant


class FitContestant(Contestant):
    """A model that is compiled and built.

    Args:
        model: trained by `model.fit(x)`.
        keras: the module `keras` or `tf_keras`.
    """

    def __init__(self, workload, train, model, keras):
        super().__init__(workload, train)
        self.model, self.keras = model, keras

    def first_step(self):
        self._fit(self.train_images[: self.workload.batch_size], 1)

    def train(self, epochs):
        # Hooks of epochs alone: one of batches would keep `fit` from running several at once.
        begins, ends = [], []

        class Clock(self.keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                begins.append(time.perf_counter())

            def on_epoch_end(self, epoch, logs=None):
                ends.append(time.perf_counter())

        start = time.perf_counter()
        self._fit(self.train_images, epochs, Clock())
        return {"setup_s": begins[0] - start, "epoch_s": np.diff([begins[0], *ends]).tolist()}

    def waits(self, epochs):
        times = []

        class Clock(self.keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                times.append([time.perf_counter()])

            def on_train_batch_end(self, batch, logs=None):
                times[-1].append(time.perf_counter())

        self._fit(self.train_images, epochs, Clock())
        batches = [np.diff(epoch) for epoch in times]
        return [float(max(0.0, each[0] - np.median(each))) for each in batches]

    def bound(self, images):
        return -self.model.evaluate(images, batch_size=200, verbose=0, return_dict=True)["loss"]

    def device(self):
        gpus = tf.config.list_physical_devices("GPU")
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"

    def device_peak_bytes(self):
        if tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"]
        return None

    def _fit(self, images, epochs, *callbacks):
        self.model.fit(images, batch_size=self.workload.batch_size, epochs=epochs, verbose=0, callbacks=list(callbacks))


class ImportanceSampled(FitContestant):
    """A model whose log p(x) nobody provides: importance sampling, as one would write it by hand.

    A subclass gives `posterior(x)`, mean and log-variance `[B, D]`, and `log_prob(x, z)`, log p(x|z) `[S, B]`.
    """

    xla = False

    def log_likelihood(self, images):
        if not hasattr(self, "_estimate"):
            self._estimate = tf.function(self._log_likelihood, jit_compile=self.xla, autograph=False)
        starts = range(0, len(images), SCORED_AT_ONCE)
        return float(np.mean([self._estimate(tf.constant(images[i : i + SCORED_AT_ONCE])) for i in starts]))

    def _log_likelihood(self, x):
        mean, log_variance = self.posterior(x)
        deviation, blocks = tf.exp(0.5 * log_variance), self.workload.importance_samples // DRAWS_AT_ONCE

        def add_block(index, total):
            noise = tf.random.normal([DRAWS_AT_ONCE, *mean.shape])
            z = mean + deviation * noise
            # log p(z) - log q(z|x): the constants of the two Gaussians cancel.
            log_ratio = 0.5 * tf.reduce_sum(noise**2 - z**2 + log_variance, -1)
            weights = tf.reduce_logsumexp(self.log_prob(x, z) + log_ratio, 0)
            return index + 1, tf.reduce_logsumexp(tf.stack([total, weights]), 0)

        start = tf.fill([x.shape[0]], tf.constant(-float("inf")))
        _, total = tf.while_loop(lambda index, _: index < blocks, add_block, [0, start])
        return tf.reduce_mean(total) - tf.math.log(float(blocks * DRAWS_AT_ONCE))
