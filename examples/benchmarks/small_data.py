"""How fast small data is: validation, `evaluate` and `predict` of a few rows, and queries of a few images.

    python examples/benchmarks/small_data.py [--data-dir FOLDER] [--rounds 5]

Against Keras 3's own methods of a subclassed model with `add_loss` over TFP (`contestants/keras_tfp.py`), without and
with XLA, in turns in one process. Medians. Frey Faces (560-200-10, batch 100) with 165 rows held out; MNIST
(784-500-20) with 10,000. Where FOLDER holds no data, uniform draws stand in: the times are the same.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import data
import numpy as np
import tensorflow as tf
from contestants import CONTESTANTS
from stopwatch import Stopwatch
from workloads import WORKLOADS

PEERS = ("keras_tfp", "keras_tfp_xla")
HELD_OUT = 165
EPOCHS = 8


def main():
    parser = argparse.ArgumentParser(description="Measure how fast small data is.")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds: expected an integer of at least 1; received: {args.rounds}")
    frey, held_out = images("frey", args.data_dir)
    models = {name: model_of(name, "frey", frey) for name in ("keras_vae", *PEERS)}
    epochs(models, frey, held_out, args.rounds)
    calls("evaluate", models, held_out, 100, args.rounds)
    calls("predict", models, held_out, 100, args.rounds)
    mnist, test = images("mlp", args.data_dir)
    models = {name: model_of(name, "mlp", mnist) for name in ("keras_vae", *PEERS, "keras_custom_step", "tf_keras_tfp")}
    calls("evaluate", models, test, 500, args.rounds)
    queries(models["keras_vae"], test, args.rounds)


def images(workload, data_dir):
    """Images to train on, and those held out: real ones, where there are any."""
    workload = WORKLOADS[workload]
    with tempfile.TemporaryDirectory() as folder:
        try:
            data.prepare(workload, workload.full, data_dir, pathlib.Path(folder))
            train, test = data.load(pathlib.Path(folder))
        except data.Missing:
            random, size = np.random.default_rng(0), workload.event_shape
            train, test = (random.uniform(size=(num, *size)).astype("float32") for num in (1800, 10_000))
    return train, test if workload.data == "mnist" else test[:HELD_OUT]


def model_of(name, workload, train):
    return CONTESTANTS[name].build(WORKLOADS[workload], train, seed=0).model


def seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def epochs(models, train, held_out, rounds):
    """An epoch of training, with validation and without."""
    print(
        f"An epoch of {len(train):,} rows of {train.shape[1]} numbers, ms: without and with {HELD_OUT} to validate on"
    )
    times = {(name, validated): [] for name in models for validated in (False, True)}
    for turn in range(rounds + 1):
        for (name, validated), found in times.items():
            stopwatch = Stopwatch()
            options = {"validation_data": validation_of(name, held_out)} if validated else {}
            models[name].fit(train, batch_size=100, epochs=EPOCHS, verbose=0, callbacks=[stopwatch], **options)
            found.extend(stopwatch.seconds[1:] if turn else [])
    middle = {key: statistics.median(found) for key, found in times.items()}
    for name in models:
        alone, both = middle[name, False], middle[name, True]
        print(f"  {name:16} {1e3 * alone:7.1f} {1e3 * both:7.1f}   {both / alone:.2f}x one without")
    for name in PEERS:
        alone, both = (middle["keras_vae", validated] / middle[name, validated] for validated in (False, True))
        print(f"  keras_vae takes {alone:.2f}x and {both:.2f}x the time of {name}")


def validation_of(name, held_out):
    return held_out if name == "keras_vae" else (held_out, None)


def calls(method, models, x, batch_size, rounds):
    """A method's first call, and its tenth and later ones, in turns."""
    print(f"{method} of {len(x):,} rows of {x.shape[1]} numbers, batch {batch_size}, ms: the first call, and the tenth")

    def call(name):
        return seconds(lambda: getattr(models[name], method)(x, batch_size=batch_size, verbose=0))

    first = {name: call(name) for name in models}
    for name in models:
        for _ in range(8):
            call(name)
    later = {name: [] for name in models}
    for _ in range(4 * rounds):
        for name, found in later.items():
            found.append(call(name))
    middle = {name: statistics.median(found) for name, found in later.items()}
    for name in models:
        ratio = "" if name == "keras_vae" else f"   keras_vae takes {middle['keras_vae'] / middle[name]:.2f}x of it"
        rate = f"{len(x) / middle[name]:,.0f} rows/s"
        print(f"  {name:16} {1e3 * first[name]:8.1f} {1e3 * middle[name]:8.2f}   {rate}{ratio}")


def queries(vae, x, rounds):
    """`encode`, `reconstruct` and `generate`, again and again, against a `tf.function` of the same arithmetic."""
    print("Queries, microseconds a call, and as a multiple of a bare tf.function of the same arithmetic")
    (w1, b1, w2, b2), (v1, c1, v2, c2) = ([each.value for each in part.weights] for part in (vae.encoder, vae.decoder))
    latent = b2.shape[0] // 2

    @tf.function
    def encode(x):
        return tf.split(tf.tanh(x @ w1 + b1) @ w2 + b2, 2, axis=-1)

    def decoded(z):
        return tf.sigmoid(tf.tanh(z @ v1 + c1) @ v2 + c2)

    @tf.function
    def reconstruct(x):
        return decoded(tf.split(tf.tanh(x @ w1 + b1) @ w2 + b2, 2, axis=-1)[0])

    for batch in (1, 256):
        rows, seed = tf.constant(x[:batch]), tf.constant([0, 1])

        @tf.function
        def generate(seed, batch=batch):
            return decoded(tf.random.stateless_normal((batch, latent), seed))

        pairs = {
            "encode": (lambda rows=rows: vae.encode(rows), lambda rows=rows: encode(rows)),
            "reconstruct": (lambda rows=rows: vae.reconstruct(rows), lambda rows=rows: reconstruct(rows)),
            "generate": (
                lambda batch=batch: vae.generate(batch, seed=0),
                lambda generate=generate, seed=seed: generate(seed),
            ),
        }
        for name, (ours, bare) in pairs.items():
            times = [[], []]
            for _ in range(100 * rounds):
                for found, call in zip(times, (ours, bare), strict=True):
                    found.append(seconds(call))
            ours, bare = (statistics.median(found[20:]) for found in times)
            print(f"  {name:12} batch {batch:3}: {1e6 * ours:6.0f} and {1e6 * bare:6.0f}, {ours / bare:.2f}x")


if __name__ == "__main__":
    main()
