"""Several machines: a variational autoencoder learns handwritten digits on all of them at once.

    python examples/multi_worker.py --local 2                # two workers on this machine, to try it
    python examples/multi_worker.py --backup SHARED_FOLDER   # on every machine, each with its own TF_CONFIG

It needs `pip install "keras_vae[examples]"`. Every machine runs the same command, and the environment variable
TF_CONFIG says who is who: all addresses, the same on all machines, and which of them this one is. On the first of two:

    export TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]},
                       "task": {"type": "worker", "index": 0}}'

On the second it ends in "index": 1. Each address is a host's, as the others reach it, with a port that is free there
and open to them. Worker 0 is the chief: it alone shows progress, backs up and saves.

Each step, a worker takes its share of the global batch, on each of its GPUs or on its CPU, and all apply the sum of
their gradients: what is learned is what one device would learn, and `fit` says it in the same numbers. If a worker
dies, the others cannot go on. Start all of them again, and they resume after the last epoch that was backed up.
`--local` does so by itself: kill one to see it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_vae

EXPECTED = """\
multi_worker: expected the environment variable TF_CONFIG, this machine's place in the cluster as JSON, such as
  {"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, "task": {"type": "worker", "index": 0}}
received: %s
To try it on this machine alone: python examples/multi_worker.py --local 2"""


class Backup(keras.callbacks.BackupAndRestore):
    """Restores every worker from one backup, which the chief alone writes: so that all resume at the same epoch."""

    def __init__(self, folder, is_chief):
        super().__init__(folder, double_checkpoint=True)
        self.is_chief = is_chief

    def on_epoch_end(self, epoch, logs=None):
        if self.is_chief:
            super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        if self.is_chief:
            super().on_train_end(logs)


def main():
    args = parse_arguments()
    if args.local:
        sys.exit(run_locally(args.local, sys.argv[1:]))
    index = place_in_cluster()
    keras.utils.set_random_seed(args.seed)
    # First of all that TensorFlow does. It waits here until all workers are up.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    train(strategy, args, is_chief=index == 0)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Train a variational autoencoder on several machines.")
    parser.add_argument("--local", type=int, metavar="N", help="start N workers on this machine; no TF_CONFIG needed")
    parser.add_argument("--backup", default="multi_worker/backup", help="a folder that all share; default: %(default)s")
    parser.add_argument("--out", default="multi_worker/vae.keras", help="where the chief saves; default: %(default)s")
    parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=128, help="of all workers together; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    args = parser.parse_args()
    for name in ("local", "epochs", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: expected an integer of at least 1; received: {value}")
    if not 0 <= args.seed < 2**32:
        parser.error(f"--seed: expected an integer from 0 to 2**32 - 1; received: {args.seed}")
    return args


def place_in_cluster():
    """This worker's number, by TF_CONFIG."""
    given = os.environ.get("TF_CONFIG")
    try:
        config = json.loads(given)
        addresses, index = config["cluster"]["worker"], config["task"]["index"]
        if config["task"]["type"] != "worker" or not 0 <= index < len(addresses):
            raise ValueError
    except (TypeError, ValueError, LookupError):
        sys.exit(EXPECTED % ("none" if given is None else given))
    return index


def load_digits(seed):
    """scikit-learn's 1,797 digits, [N, 8, 8, 1] in 0 to 1: to train on, and 297 to test on."""
    import sklearn.datasets

    images = (sklearn.datasets.load_digits().images / 16).astype("float32")[..., np.newaxis]
    order = np.random.default_rng(seed).permutation(len(images))  # the same on all workers
    return images[order[297:]], images[order[:297]]


def train(strategy, args, is_chief):
    """What each worker runs. All of them fit and evaluate, since those are steps taken together."""
    x, x_test = load_digits(args.seed)
    with strategy.scope():
        encoder = keras.Sequential([layers.Flatten(), layers.Dense(256, "relu"), keras_vae.layers.IndependentNormal(8)])
        likelihood = keras_vae.layers.IndependentNormal((8, 8, 1), scale=keras_vae.scales.Shared(initial=0.3))
        decoder = keras.Sequential([layers.Dense(256, "relu"), likelihood])
        vae = keras_vae.VAE(encoder, decoder)
        vae.compile("adam")
    vae.build((None, *x.shape[1:]))  # the backup is read before the first step
    vae.fit(
        x,
        validation_data=x_test,
        batch_size=args.batch_size,
        epochs=args.epochs,
        callbacks=[Backup(args.backup, is_chief)],
        verbose=2 if is_chief else 0,
    )
    scores = vae.evaluate(x_test, batch_size=args.batch_size, verbose=0, return_dict=True)
    if is_chief:
        pathlib.Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        vae.save(args.out)
        print(f"{strategy.num_replicas_in_sync} replicas; test ELBO {scores['elbo']:.2f} nats. Written: {args.out}")


def run_locally(num, arguments, restarts=3):
    """Runs `num` workers on this machine, all of them again if one fails; returns the exit status."""
    for attempt in range(1 + restarts):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(num)]
            for each in sockets:
                each.bind(("localhost", 0))
            cluster = {"worker": [f"localhost:{each.getsockname()[1]}" for each in sockets]}
        command = [sys.executable, __file__, *without_local(arguments)]
        workers = []
        try:
            for index in range(num):
                task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
                workers.append(subprocess.Popen(command, env={**os.environ, "TF_CONFIG": json.dumps(task)}))
            print("Started workers with process ids", *[worker.pid for worker in workers], flush=True)
            while None in (statuses := [worker.poll() for worker in workers]) and not any(statuses):
                time.sleep(0.2)
        except KeyboardInterrupt:
            return 130
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        if not any(statuses):
            return 0
        print(f"A worker ended with status {next(filter(None, statuses))}.", end=" ")
        print("Starting all again." if attempt < restarts else "Giving up.", flush=True)
    return 1


def without_local(arguments):
    """The arguments, without `--local N`, for a worker."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--local")
    return parser.parse_known_args(arguments)[1]


if __name__ == "__main__":
    main()
