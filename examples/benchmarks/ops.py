"""The loss ops, forward plus backward, against the bytes that they must move and against TFP.

The gradient is that with respect to the network's outputs. A forward pass reads its operands; a backward pass reads
them again and writes a gradient each. Medians of interleaved rounds; a call's own overhead is in every figure.
"""

import functools
import statistics
import time

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae import ops

tfd = tfp.distributions
EVENT, ROUNDS, LEAST_SECONDS = 784, 9, 0.03


def normal(mean, log_variance):
    return tfd.Independent(tfd.Normal(mean, tf.exp(0.5 * log_variance)), 1)


def standard_kl(mean, log_variance):
    return tfd.kl_divergence(normal(mean, log_variance), normal(tf.zeros(EVENT), tf.zeros(EVENT)))


# name: ours, TFP's, how many operands are data, how many the network's
CASES = {
    "gaussian_nll": (ops.gaussian_nll, lambda x, *parameters: -normal(*parameters).log_prob(x), 1, 2),
    "gaussian_kl": (ops.gaussian_kl, standard_kl, 0, 2),
    "bernoulli_nll": (
        ops.bernoulli_nll,
        lambda x, logits: -tfd.Independent(tfd.Bernoulli(logits=logits), 1).log_prob(x),
        1,
        1,
    ),
}


def value_and_gradients(function, data, **kwargs):
    def both(upstream, *operands):
        parameters = list(operands[data:])
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            value = function(*operands[:data], *parameters)
        return [value, *tape.gradient(value, parameters, upstream)]

    return tf.function(both, autograph=False, **kwargs)


def medians(contestants):
    """Seconds a call of each, the rounds interleaved."""
    times = {name: [] for name in contestants}
    for call in contestants.values():
        call()
    for _ in range(ROUNDS):
        for name, call in contestants.items():
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < LEAST_SECONDS:
                call()
                count += 1
            times[name].append((time.perf_counter() - start) / count)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main():
    copy = tf.function(lambda x: x * 1.0001, jit_compile=True)
    print("op              elements   ms XLA  x bytes  TFP XLA / ours  TFP plain / ours  stored / input")
    for size in (100_000, 1_000_000, 10_000_000):
        for name, (ours, theirs, data, parameters) in CASES.items():
            rng, rows = np.random.default_rng(0), size // EVENT
            operands = [tf.constant(rng.uniform(size=(rows, EVENT)), tf.float32) for _ in range(data + parameters)]
            arguments = [tf.ones(rows), *operands]
            programs = {
                (who, compiled): value_and_gradients(function, data, jit_compile=compiled)
                for who, function in (("ours", ours), ("TFP", theirs))
                for compiled in (True, False)
            }
            calls = {key: functools.partial(program, *arguments) for key, program in programs.items()}
            seconds = medians({**calls, "copy": functools.partial(copy, operands[0])})
            moved = (2 * (data + parameters) + parameters) / 2  # in copies, each of which reads and writes
            entry = programs["ours", True].experimental_get_compiler_ir(*arguments)("optimized_hlo").split("ENTRY")[1]
            computed = entry.count(f" = f32[{rows},{EVENT}]") - (data + parameters)
            print(
                f"{name:15} {size:8} {1e3 * seconds['ours', True]:8.3f} "
                f"{seconds['ours', True] / (moved * seconds['copy']):8.2f} "
                f"{seconds['TFP', True] / seconds['ours', True]:15.2f} "
                f"{seconds['TFP', False] / seconds['ours', False]:17.2f} {computed - parameters:15}",
                flush=True,
            )


if __name__ == "__main__":
    main()
