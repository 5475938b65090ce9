"""How fast an exported model is against the Keras model it came from; how long exporting takes, and how much it writes.

    python examples/benchmarks/exported.py

The README's quick start, 8x8 digits, at batches of 1 and of 256: the signatures `encode` and `score` (of one importance
sample, and of 50) against `vae.predict`, and like against like: `reconstruct` and `vae.reconstruct`, `score` and
`vae.log_likelihood` of 50 samples. All in turns; medians of rounds, each also as a multiple of `predict`'s, below 1
where it is faster.
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
        print(f"exported in {took:.1f} s; {written:,} bytes, the weights {weights:,}\n")
        loaded = tf.saved_model.load(folder)
        print("| batch | call | ms | of predict's time |\n| ---: | --- | ---: | ---: |")
        for batch in BATCHES:
            medians = seconds(calls(vae, loaded.signatures, x[:batch]))
            for name, median in medians.items():
                print(f"| {batch} | `{name}` | {median * 1e3:.2f} | {median / medians['vae.predict']:.2f} |")


def calls(vae, served, x):
    """What is timed, by name: functions of nothing, each to a NumPy array."""
    tensor, seed, one, fifty = tf.constant(x), tf.constant(0, tf.int64), tf.constant(1), tf.constant(50)

    def score(num_samples):
        return served["score"](x=tensor, num_samples=num_samples, seed=seed)["log_likelihood"].numpy()

    return {
        "vae.predict": lambda: vae.predict(x, batch_size=256, verbose=0),
        "encode": lambda: served["encode"](x=tensor, seed=seed)["mean"].numpy(),
        "reconstruct": lambda: served["reconstruct"](x=tensor)["reconstruction"].numpy(),
        "vae.reconstruct": lambda: vae.reconstruct(tensor).numpy(),
        "score, 1 sample": lambda: score(one),
        "score, 50 samples": lambda: score(fifty),
        "vae.log_likelihood, 50 samples": lambda: vae.log_likelihood(x, num_samples=50, batch_size=256, verbose=0),
    }


if __name__ == "__main__":
    main()
