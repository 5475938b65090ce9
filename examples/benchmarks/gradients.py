"""What the other gradients cost, and FactorVAE's discriminator: epochs as multiples of a plain objective's.

    python examples/benchmarks/gradients.py                      # MNIST, which Keras downloads
    python examples/benchmarks/gradients.py --data-dir FOLDER    # MNIST from FOLDER/mnist.npz

The networks are those of the workload `samples`, 784-200-200-50. Both objectives of a pair train in turns, in one
process, first the one and then the other. A round's ratio is that of its median epochs; the median of the rounds
counts, and the least and the largest tell how quiet the machine was.

FactorVAE is held against an ELBO whose step has the discriminator's arithmetic too: both batches of latents forward,
and back to its weights and to the latents, for a classifier that has nothing to do with the bound.

At last `samples` trains in a process of its own, here and in JAX, and says how much memory it held at most: its
libraries imported, its program compiled and run once, and after some epochs. Where FOLDER holds no data, uniform draws
stand in: time and memory are the same.
"""

import argparse
import dataclasses
import pathlib
import statistics
import tempfile

import data
import keras
import numpy as np
from contestants import CONTESTANTS
from contestants.keras_vae import model_of
from keras import ops
from process import worker
from stopwatch import Stopwatch
from workloads import WORKLOADS

from keras_vae import objectives

SAMPLES = WORKLOADS["samples"]
# A batch as people take it with a draw an example, and FactorVAE's paper's.
ONE_DRAW = dataclasses.replace(SAMPLES, objective="elbo", num_samples=1, batch_size=64)
MEASURED = ("keras_vae", "jax_scan")  # for their memory


@keras.saving.register_keras_serializable("benchmarks")
class WithClassifier(objectives.ELBO):
    """An ELBO that trains a classifier of z and of other latents beside it, and the encoder with it."""

    def __init__(self, classifier, **kwargs):
        super().__init__(**kwargs)
        self.classifier = classifier

    @property
    def term_weights(self):
        return {**super().term_weights, "classifier": 1.0}

    def __call__(self, forward):
        z = forward.z[0]
        of_z, of_others = (self.classifier(each) for each in (z, ops.roll(ops.stop_gradient(z), 1, axis=0)))
        odds = (of_z[:, 0] - of_z[:, 1], of_others[:, 1] - of_others[:, 0])
        return {**super().__call__(forward), "classifier": 0.5 * sum(ops.softplus(-each) for each in odds)}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two objectives of one workload's networks, and how many times the first one's time the second may take."""

    title: str
    workload: object
    plain: objectives.Objective
    other: objectives.Objective
    bar: float
    images: int  # an epoch


def pairs():
    """What is compared."""
    elbo, draws = objectives.ELBO, SAMPLES.num_samples
    factor = objectives.FactorVAE()
    classifier = keras.models.clone_model(factor.discriminator)
    return [
        Pair(
            f"IWAE({draws}): DReG against plain",
            SAMPLES,
            objectives.IWAE(draws),
            objectives.IWAE(draws, gradient="dreg"),
            1.5,
            2_000,
        ),
        Pair(
            f"ELBO({draws}) by draws: STL against plain",
            SAMPLES,
            elbo(num_samples=draws, kl="draws"),
            elbo(num_samples=draws, gradient="stl"),
            1.15,
            2_000,
        ),
        Pair(
            "ELBO(1) by draws, batch 64: STL against plain",
            ONE_DRAW,
            elbo(kl="draws"),
            elbo(gradient="stl"),
            1.15,
            19_200,
        ),
        Pair(
            "batch 64: FactorVAE against an ELBO beside a classifier",
            ONE_DRAW,
            WithClassifier(classifier),
            factor,
            1.3,
            1_920,
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description="Measure what other gradients and a discriminator cost.")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where mnist.npz is, if not at Keras's")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="that count, of each fit; default: %(default)s")
    args = parser.parse_args()
    for name in ("rounds", "epochs"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected an integer of at least 1; received: {getattr(args, name)}")

    compared = pairs()
    images = train_images(args.data_dir, max(SAMPLES.full.train_images, *(pair.images for pair in compared)))
    print(
        "| | plain, s an epoch | the other | of plain | rounds | at most |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for pair in compared:
        print(row(pair, images[: pair.images], args.rounds, args.epochs), flush=True)
    print("\n| peak memory, MiB | libraries | first step beyond | epochs beyond | in all |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in MEASURED:
        print(memory(name, images[: SAMPLES.full.train_images], args.epochs), flush=True)


def train_images(data_dir, count):
    """MNIST's, or as many uniform draws."""
    effort = dataclasses.replace(SAMPLES.full, train_images=count)
    with tempfile.TemporaryDirectory() as folder:
        try:
            data.prepare(SAMPLES, effort, data_dir, pathlib.Path(folder))
            return data.load(pathlib.Path(folder))[0]
        except data.Missing:
            return np.random.default_rng(0).uniform(size=(count, *SAMPLES.event_shape)).astype("float32")


def row(pair, images, rounds, epochs):
    """A pair's row of the table."""
    models = []
    for objective in (pair.plain, pair.other):
        keras.utils.set_random_seed(0)
        models.append(model_of(pair.workload, objective))
    times = [[] for _ in models]
    for turn in range(rounds + 1):
        for model, found in zip(models, times, strict=True):
            stopwatch = Stopwatch()
            # The first epoch of a fit waits for its data; in the first turn, for a program too.
            batch_size = pair.workload.batch_size
            model.fit(images, batch_size=batch_size, epochs=1 + epochs, verbose=0, callbacks=[stopwatch])
            found += [statistics.median(stopwatch.seconds[1:])] if turn else []
    plain, other = (statistics.median(found) for found in times)
    ratios = [b / a for a, b in zip(*times, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"| {pair.title} | {plain:.3f} | {other:.3f} | {statistics.median(ratios):.2f} | {spread} | {pair.bar} |"


def memory(name, images, epochs):
    """A contestant's row of the table of memory."""
    label = CONTESTANTS[name].label
    if reason := CONTESTANTS[name].missing():
        return f"| {label}: {reason} | | | | |"
    with tempfile.TemporaryDirectory() as folder:
        for part in ("train", "test"):
            np.save(pathlib.Path(folder) / f"{part}.npy", images if part == "train" else images[:200])
        process = worker(name, SAMPLES, folder, seed=0)
        try:
            peaks = [process.ask("start")["start_peak_mb"]]
            process.ask("build")
            peaks.append(process.ask("memory")["peak_mb"])
            process.ask("train", epochs=1 + epochs)
            peaks.append(process.ask("memory")["peak_mb"])
        finally:
            process.close()
    libraries, first_step, trained = peaks
    return f"| {label} | {libraries:.0f} | {first_step - libraries:.0f} | {trained - first_step:.0f} | {trained:.0f} |"


if __name__ == "__main__":
    main()
