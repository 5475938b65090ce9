"""What keras_vae spends around the steps: importing it, looking at the data, waiting for an epoch's first batch.

    python examples/benchmarks/overheads.py [--data-dir FOLDER]

On the first workload, with NumPy arrays and with a data set of the same batches. Medians; shares are of an epoch's time
in the same run.
"""

import argparse
import itertools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import data
import keras
import tensorflow as tf
from contestants import CONTESTANTS
from workloads import WORKLOADS

from keras_vae.data.data_check import DataCheck

ROUNDS, EPOCHS = 5, 6
IMPORT = (
    "import time, tensorflow, keras, tensorflow_probability as tfp; tfp.distributions; start = time.perf_counter(); "
    "import keras_vae; print(time.perf_counter() - start)"
)


class Clock(keras.callbacks.Callback):
    """When each epoch began and each of its batches ended."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append([time.perf_counter()])

    def on_train_batch_end(self, batch, logs=None):
        self.epochs[-1].append(time.perf_counter())


def seconds(action):
    """The median of some rounds of an action."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def imported():
    """Seconds to import keras_vae after what it imports."""
    command = [sys.executable, "-P", "-c", IMPORT]
    return statistics.median(
        float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(ROUNDS)
    )


def waits(vae, x, batch_size):
    """For each epoch, seconds until its first batch was done, less a median batch, in steps of one batch."""
    clock = Clock()
    vae.fit(x, batch_size=batch_size, epochs=EPOCHS, verbose=0, callbacks=[clock])
    ends = [[end - begin for begin, end in itertools.pairwise(epoch)] for epoch in clock.epochs]
    return [max(0.0, epoch[0] - statistics.median(epoch)) for epoch in ends]


def main():
    parser = argparse.ArgumentParser(description="Measure what keras_vae spends around the steps.")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER")
    args = parser.parse_args()
    workload = WORKLOADS["mlp"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            data.prepare(workload, workload.full, args.data_dir, pathlib.Path(folder))
        except data.Missing as missing:
            sys.exit(f"overheads: {missing}")
        x, _ = data.load(pathlib.Path(folder))
    vae = CONTESTANTS["keras_vae"].build(workload, x, seed=0).model
    batches = tf.data.Dataset.from_tensor_slices(x).batch(workload.batch_size)

    def fitted(dataset, **kwargs):
        start = time.perf_counter()
        vae.fit(dataset, verbose=0, **kwargs)
        return time.perf_counter() - start

    print(f"import, after TensorFlow, Keras and TFP: {imported():.3f} s")
    vae.fit(x, batch_size=workload.batch_size, verbose=0)
    epoch = seconds(lambda: vae.fit(x, batch_size=workload.batch_size, verbose=0))
    with DataCheck(vae) as check:
        looked = seconds(lambda: check(x))
        print(f"an epoch of {len(x):,} rows: {epoch:.2f} s; looking at the array: {looked:.4f} s, {looked / epoch:.2%}")
    # Examined beside the steps, so that only the whole tells what it costs; in turns.
    shares = [fitted(batches, check_data=True) / fitted(batches, check_data=False) - 1 for _ in range(1 + 2 * ROUNDS)]
    print(f"looking at them as a data set: {statistics.median(shares[1:]):.2%}")
    longest = max(waits(vae, x, workload.batch_size)[1:])
    print(f"an epoch's longest wait for its first batch, after the first epoch: {longest:.4f} s")


if __name__ == "__main__":
    main()
