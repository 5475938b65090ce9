"""Images a second of `VAE.log_likelihood`, against the matrix products alone.

The one-layer model of the IWAE paper (arXiv 1509.00519): MLP 784-200-200-50, Bernoulli decoder, 5,000 samples an image.
Medians of interleaved rounds, in one run.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_vae

SAMPLES, ROWS, BLOCKS = 5000, 2048, 20


def products(decoder):
    """Seconds an image of the decoder's matrix products alone, on blocks of ROWS latents, as a function to call."""
    kernels = [tf.random.normal(shape) for shape in decoder]

    @tf.function(jit_compile=True)
    def run(z):
        for _ in tf.range(BLOCKS):
            h = z
            for kernel in kernels:
                h = h @ kernel
            z = z * (1.0 + 1e-30 * h[:, :1])  # so that each block waits for the one before, and none is left out
        return z

    def seconds():
        start = time.perf_counter()
        run(tf.random.normal((ROWS, decoder[0][0]))).numpy()
        return (time.perf_counter() - start) / (BLOCKS * ROWS) * SAMPLES

    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=104)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    hidden = [layers.Dense(200, "tanh") for _ in range(4)]
    encoder = keras.Sequential([*hidden[:2], keras_vae.layers.IndependentNormal(50)])
    decoder = keras.Sequential([*hidden[2:], keras_vae.layers.IndependentBernoulli(784)])
    vae = keras_vae.VAE(encoder, decoder, seed=0)
    x = np.random.default_rng(0).binomial(1, 0.13, (arguments.images, 784)).astype("float32")

    def estimate():
        start = time.perf_counter()
        vae.log_likelihood(x, num_samples=SAMPLES, verbose=0)
        return (time.perf_counter() - start) / len(x)

    contestants = {"log_likelihood": estimate, "matrix products": products([(50, 200), (200, 200), (200, 784)])}
    times = {name: [] for name in contestants}
    for each in contestants.values():
        each()  # compiles
    for _ in range(arguments.rounds):
        for name, each in contestants.items():
            times[name].append(each())
    rates = {name: 1.0 / statistics.median(seconds) for name, seconds in times.items()}
    for name, rate in rates.items():
        print(f"{name:16} {rate:7.1f} images/s   ({1 / max(times[name]):.1f} to {1 / min(times[name]):.1f})")
    print(f"{'ratio':16} {rates['log_likelihood'] / rates['matrix products']:7.2f}")


if __name__ == "__main__":
    main()
