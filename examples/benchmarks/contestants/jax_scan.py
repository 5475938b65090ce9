"""A VAE in JAX with optax: an epoch is one compiled program, a scan over its batches, with donated state.

But for convolutions on a CPU, which XLA runs on one core inside a scan: there a step is the program (measured: 326
images/s instead of 80).
"""

import functools
import math
import time

import jax
import optax
from jax import lax
from jax import numpy as jnp

from contestants import jax_networks
from contestants.base import DRAWS_AT_ONCE, EPSILON, LEARNING_RATE, SCORED_AT_ONCE, Contestant


def build(workload, train, seed):
    return JAXScan(workload, train, seed)


class JAXScan(Contestant):
    def __init__(self, workload, train, seed):
        super().__init__(workload, train)
        self.optimizer = optax.adam(LEARNING_RATE, eps=EPSILON)
        self.images = jnp.asarray(train)
        self.key, key = jax.random.split(jax.random.key(seed))
        weights = jax_networks.initial_weights(workload, key)
        self.state = weights, self.optimizer.init(weights)
        self._epoch = jax.jit(self._run_epoch, donate_argnums=0)
        self._one_step = jax.jit(self._step, donate_argnums=0)
        self._bound = jax.jit(lambda weights, key, x: -self._loss(weights, key, x))
        self._scored = jax.jit(self._log_likelihood)

    def _negative_log_prob(self, weights, x, z):
        """-log p(x|z), `[S, B]`, of x `[B, *event]` and z `[S, B, D]`."""
        outputs, x = jax_networks.decode(self.workload, weights, z), x.reshape(len(x), -1)
        if self.workload.likelihood == "bernoulli":
            # As NumPyro has it: one exponential an element. With optax's two an epoch takes a third longer (measured).
            return (jnp.maximum(outputs, 0) - x * outputs + jnp.log1p(jnp.exp(-jnp.abs(outputs)))).sum(-1)
        mean, log_variance = jnp.split(outputs, 2, axis=-1)
        return 0.5 * ((x - mean) ** 2 * jnp.exp(-log_variance) + log_variance + math.log(2 * math.pi)).sum(-1)

    def _log_weights(self, weights, key, x, mean, log_variance, draws):
        """log p(x|z) + log p(z) - log q(z|x), `[S, B]`: the constants of the two Gaussians cancel."""
        noise = jax.random.normal(key, (draws, *mean.shape))
        z = mean + jnp.exp(0.5 * log_variance) * noise
        log_ratio = 0.5 * (noise**2 - z**2 + log_variance).sum(-1)
        return log_ratio - self._negative_log_prob(weights, x, z)

    def _loss(self, weights, key, x):
        mean, log_variance = jax_networks.encode(self.workload, weights, x)
        draws = self.workload.num_samples
        if self.workload.objective == "iwae":
            log_weights = self._log_weights(weights, key, x, mean, log_variance, draws)
            return math.log(draws) - jax.nn.logsumexp(log_weights, axis=0).mean()
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, (draws, *mean.shape))
        kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        return self._negative_log_prob(weights, x, z).mean() + kl.mean()

    def _step(self, state, key, x):
        """The state after a batch, and its loss."""
        weights, slots = state
        loss, gradient = jax.value_and_grad(self._loss)(weights, key, x)
        updates, slots = self.optimizer.update(gradient, slots)
        return (optax.apply_updates(weights, updates), slots), loss

    def _run_epoch(self, state, key, images):
        """The state after every image was trained on once, and the mean loss."""
        key, shuffle = jax.random.split(key)
        order = jax.random.permutation(shuffle, len(images))
        batch_size = self.workload.batch_size
        whole = len(images) // batch_size * batch_size

        key, last = jax.random.split(key)
        batches = order[:whole].reshape(-1, batch_size)
        state, losses = lax.scan(
            lambda state, batch: self._step(state, batch[1], images[batch[0]]),
            state,
            (batches, jax.random.split(key, len(batches))),
        )
        if whole < len(images):
            state, loss = self._step(state, last, images[order[whole:]])
            losses = jnp.append(losses, loss)
        return state, losses.mean()

    def _new_key(self):
        self.key, key = jax.random.split(self.key)
        return key

    def first_step(self):
        self._train_on(self.images[: self.workload.batch_size])

    def train(self, epochs):
        seconds, start = [], time.perf_counter()
        for _ in range(epochs):
            self._train_on(self.images)
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
        return {"setup_s": 0.0, "epoch_s": seconds}

    def _train_on(self, images):
        """An epoch over these images; its loss is looked at, once."""
        if not self.workload.convolutional or self._accelerator:
            self.state, loss = self._epoch(self.state, self._new_key(), images)
        else:
            batch_size, order = self.workload.batch_size, jax.random.permutation(self._new_key(), len(images))
            for start in range(0, len(images), batch_size):
                batch = images[order[start : start + batch_size]]
                self.state, loss = self._one_step(self.state, self._new_key(), batch)
        loss.block_until_ready()

    def bound(self, images):
        batches = [images[start : start + 200] for start in range(0, len(images), 200)]
        return sum(float(self._bound(self.state[0], self._new_key(), x)) * len(x) for x in batches) / len(images)

    def log_likelihood(self, images):
        batches = [images[start : start + SCORED_AT_ONCE] for start in range(0, len(images), SCORED_AT_ONCE)]
        return sum(float(self._scored(self.state[0], self._new_key(), x)) * len(x) for x in batches) / len(images)

    def _log_likelihood(self, weights, key, x):
        mean, log_variance = jax_networks.encode(self.workload, weights, x)
        blocks = self.workload.importance_samples // DRAWS_AT_ONCE

        def add_block(total, key):
            log_weights = self._log_weights(weights, key, x, mean, log_variance, DRAWS_AT_ONCE)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_weights, axis=0)), None

        total, _ = lax.scan(add_block, jnp.full(len(x), -jnp.inf), jax.random.split(key, blocks))
        return total.mean() - math.log(blocks * DRAWS_AT_ONCE)

    @functools.cached_property
    def _accelerator(self):
        device = jax.devices()[0]
        return None if device.platform == "cpu" else device

    def device(self):
        return self._accelerator.device_kind if self._accelerator else "CPU"

    def device_peak_bytes(self):
        return self._accelerator.memory_stats()["peak_bytes_in_use"] if self._accelerator else None
