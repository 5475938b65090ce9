"""How fast an exported model is against the Keras model it came from; how long exporting takes, and how much it writes.

    python examples/benchmarks/exported.py

The README's quick start, 8x8 digits. Signatures `encode` and `score` (of one importance sample, and of 50) against
`vae.predict`, and also `vae.log_likelihood` of as many, in turns, at batches of 1 and of 256: medians of
rounds, and each as a multiple of `predict`, below 1 where the export is faster.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import keras
import tensorflow as tf
from keras import layers
from sklearn.datasets import load_digits

import keras_vae

ROUNDS, CALLS, BATCHES = 15, 10, (1, 256)


def quick_start():
    """The README's model and its data, a little trained."""
    x = (load_digits().images / 16.0).astype("float32")[..., None]
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(256, "relu"), keras_vae.layers.IndependentNormal(8)])
    likelihood = keras_vae.layers.IndependentNormal((8, 8, 1), scale=keras_vae.scales.Shared())
    vae = keras_vae.VAE(encoder, keras.Sequential([layers.Dense(256, "relu"), likelihood]), seed=0)
    vae.compile("adam")
    vae.fit(x, epochs=1, verbose=0)
    return vae, x


def seconds(actions):
    """For each action the median seconds of a call, in rounds, the actions in turns."""
    times = {name: [] for name in actions}
    for action in actions.values():
        action()  # what is compiled at first
    for _ in range(ROUNDS):
        for name, action in actions.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                action()
            times[name].append((time.perf_counter() - start) / CALLS)
    return {name: statistics.median(each) for name, each in times.items()}


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    keras.utils.set_random_seed(0)
    vae, x = quick_start()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        vae.export(folder, verbose=False)
        took = time.perf_counter() - start
        written = sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())
        weights = sum(weight.numpy().nbytes for weight in vae.weights)
        print(f"exported in {took:.1f} s; {written:,} bytes, the weights {weights:,}")
        print(f"at most 1.5 times the weights and 1 MB: {written <= 1.5 * weights + 2**20}\n")
        loaded = tf.saved_model.load(folder)
        served, seed = loaded.signatures, tf.constant(0, tf.int64)
        print("| batch | call | ms | of predict's time |\n| ---: | --- | ---: | ---: |")
        for batch in BATCHES:
            rows, tensor = x[:batch], tf.constant(x[:batch])
            many = {name: tf.constant(number) for name, number in (("one", 1), ("fifty", 50))}
            found = seconds(
                {
                    "vae.predict": lambda rows=rows: vae.predict(rows, batch_size=256, verbose=0),
                    "encode": lambda x=tensor: served["encode"](x=x, seed=seed)["mean"].numpy(),
                    "score, 1 sample": lambda x=tensor, n=many["one"]: served["score"](x=x, num_samples=n, seed=seed)[
                        "log_likelihood"
                    ].numpy(),
                    "score, 50 samples": lambda x=tensor, n=many["fifty"]: served["score"](
                        x=x, num_samples=n, seed=seed
                    )["log_likelihood"].numpy(),
                    "vae.log_likelihood, 50 samples": lambda rows=rows: vae.log_likelihood(
                        rows, num_samples=50, batch_size=256, verbose=0
                    ),
                }
            )
            for name, took in found.items():
                print(f"| {batch} | `{name}` | {took * 1e3:.2f} | {took / found['vae.predict']:.2f} |")


if __name__ == "__main__":
    main()
