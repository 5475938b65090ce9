"""Section 5 of "Auto-Encoding Variational Bayes" (Kingma & Welling, arXiv 1312.6114): AEVB's curves of Figure 2.

    python examples/aevb.py --dataset mnist                             # which Keras downloads
    python examples/aevb.py --dataset mnist --data-dir FOLDER           # from FOLDER/mnist.npz
    python examples/aevb.py --dataset freyfaces --data-dir FOLDER       # from FOLDER/freyfaces.npz
    python examples/aevb.py --dataset mnist --samples 1e8               # goes on from there, to the paper's end

It needs `pip install "keras_vae[examples]"`. Killed at any time, the same command goes on, and ends with the very
numbers of a run that was never stopped. In the folder `--out` it keeps what it needs for that, and writes a figure, a
table and all points as CSV. A rerun of what is finished only draws.

What is maximised is the MAP criterion over all weights theta, the encoder's too, with minibatches of M = 100 and L = 1:

    N/M sum_i ELBO(x_i) + log p(theta),  p(theta) = N(0, I)    <=>    minimise  1/M sum_i -ELBO(x_i) + |theta|^2 / (2N)

As in the paper: 500 (MNIST) or 200 (Frey Faces) tanh units, in encoder and decoder; Bernoulli pixels for MNIST;
Gaussian ones for Frey Faces, their means in (0, 1) by a sigmoid and a variance for each; Adagrad, with the step size of
0.01, 0.02 and 0.1 that does best on training images in the first iterations. What the paper leaves open is chosen so:

- N(0, 0.01), of the initial weights and biases, has variance 0.01: the paper's other normals are given by variances.
- Adagrad is the bare one: no epsilon, no initial accumulator. Then a step does not depend on the scale of the loss.
- MNIST's grey levels are scored as the expectation over a random binarisation, the usual cross-entropy.
- A fifth of the Frey Faces, drawn by the seed, is the test set. Neighbouring frames are alike: it is an easy one.
- Both bounds are of the weights as they stand, with one draw of z an image: that of all test images, and that of the
  first 10,000 training images.
"""

import argparse
import csv
import datetime
import importlib.util
import json
import math
import os
import pathlib
import sys
import time
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_vae
from keras_vae.layers import IndependentBernoulli, IndependentNormal

M = 100  # examples a minibatch
STEP_SIZES = (0.01, 0.02, 0.1)
TRIAL = 25_000  # samples after which the step sizes are compared
BLOCK = 2_500  # samples: 25 steps, which keras_vae runs as one program. All stops are multiples of it
STRIDE = 50_000  # samples in memory at once
SCORED = 10_000  # training images, in the bound
SECONDS = 30  # after which a stride's end is saved, with no point of the curve there
# Where the bounds are evaluated, from the start of the paper's axis on: ten points a decade.
POINTS = [int(m * 10**d) for d in range(5, 9) for m in (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8)]


class Experiment(NamedTuple):
    """One of the paper's two; `name`, `latents` and `limits` are as in Figure 2."""

    name: str
    latents: tuple  # N_z, a panel each
    hidden: int  # units
    limits: tuple  # of the vertical axis, in nats
    arrays: tuple  # in the file, uint8 [N, height, width]
    advice: str  # for whoever has no file


EXPERIMENTS = {
    "mnist": Experiment(
        "MNIST", (3, 5, 10, 20, 200), 500, (-150, -100), ("x_train", "x_test"),
        "Without a network: put mnist.npz (arrays x_train and x_test, as keras.datasets.mnist has them) into a folder, "
        "and give that: --data-dir FOLDER",
    ),
    "freyfaces": Experiment(
        "Frey Face", (2, 5, 10, 20), 200, (0, 1600), ("x",),
        "Put freyfaces.npz (array x, uint8 [1965, 28, 20]) into a folder, and give that: --data-dir FOLDER. To make it "
        "of the original frey_rawface.mat:\n"
        '    faces = scipy.io.loadmat("frey_rawface.mat")["ff"].T.reshape(-1, 28, 20)\n'
        '    numpy.savez("freyfaces.npz", x=faces)',
    ),
}  # fmt: skip


def main(arguments=None):
    args, panels = parse_arguments(arguments)
    x_train, x_test = load(args.dataset, args.data_dir, args.seed)
    print(f"{EXPERIMENTS[args.dataset].name}: {len(x_train):,} images to train on, {len(x_test):,} to test on")
    for panel in panels:
        if panel.run(x_train, x_test, args.samples):
            write([panel for panel in panels if panel.curve], args)
    print(f"\n{table(panels)}\nWritten:", *write(panels, args), sep="\n")
    return panels


def parse_arguments(arguments=None):
    """The command line, and a panel for each N_z; what could fail after training is tried before it."""
    parser = argparse.ArgumentParser(description="Train the AEVB paper's models, and draw their curves of Figure 2.")
    parser.add_argument("--dataset", choices=EXPERIMENTS, required=True)
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where DATASET.npz is")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default="aevb", help="default: %(default)s")
    parser.add_argument("--samples", type=float, default=1e7, help="to train on, a panel; default: %(default)g")
    parser.add_argument("--latents", type=int, nargs="+", metavar="N_Z", help="default: the paper's")
    parser.add_argument("--hidden", type=int, metavar="UNITS", help="default: the paper's")
    parser.add_argument("--step-size", type=float, help="Adagrad's; default: chosen as in the paper")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    args = parser.parse_args(arguments)
    args.latents = args.latents or EXPERIMENTS[args.dataset].latents
    args.hidden = EXPERIMENTS[args.dataset].hidden if args.hidden is None else args.hidden
    if not 0 < args.samples < math.inf or args.samples % BLOCK:
        parser.error(f"--samples: expected a positive multiple of {BLOCK}; received: {args.samples:g}")
    for option, number in (("--latents", min(args.latents)), ("--hidden", args.hidden)):
        if number < 1:
            parser.error(f"{option}: expected an integer of at least 1; received: {number}")
    if args.step_size is not None and not 0 < args.step_size < math.inf:
        parser.error(f"--step-size: expected a positive number; received: {args.step_size}")
    if not 0 <= args.seed < 2**32:
        parser.error(f"--seed: expected an integer from 0 to 2**32 - 1; received: {args.seed}")
    if not importlib.util.find_spec("matplotlib"):
        parser.error('needs matplotlib. To install it: pip install "keras_vae[examples]"')
    args.samples = int(args.samples)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        return args, [Panel(args, latents) for latents in dict.fromkeys(args.latents)]
    except (OSError, ValueError) as error:
        parser.error(f"--out: {error}")


def load(dataset, folder, seed):
    """Images to train and to test on, `[N, height, width]`, grey levels in [0, 1]."""
    name, *_, arrays, advice = EXPERIMENTS[dataset]
    try:
        if folder is not None:
            with np.load(folder / f"{dataset}.npz") as file:
                images = [file[array] for array in arrays]
        elif dataset == "mnist":
            images = [x for x, _ in keras.datasets.mnist.load_data()]
        else:
            raise ValueError("Keras has no such data set; expected --data-dir FOLDER")
        for x in images:
            if x.dtype != "uint8" or x.ndim != 3:
                raise ValueError(f"expected uint8 [N, height, width]; received {x.dtype} {list(x.shape)}")
    except Exception as error:  # a failed download is a bare Exception
        sys.exit(f"aevb: no {name} data to train on: {error}\n{advice}")
    if len(images) == 1:
        x = np.random.default_rng(seed).permutation(images[0])
        images = x[len(x) // 5 :], x[: len(x) // 5]
    return [x.astype("float32") / 255 for x in images]


def build(dataset, latents, hidden, step_size, seed, image_shape, num_train):
    """The paper's VAE: appendix C, with N(0, 0.01) for initial weights and p(theta) = N(0, I) in the loss."""
    keras.utils.set_random_seed(seed)

    def dense(units, activation=None):
        """A layer whose weights and biases add the prior's term, |theta|^2 / (2N), to the loss; not to the ELBO."""
        parts = {}
        for part in ("kernel", "bias"):
            parts[f"{part}_initializer"] = keras.initializers.RandomNormal(stddev=math.sqrt(0.01))
            parts[f"{part}_regularizer"] = keras.regularizers.L2(1 / (2 * num_train))
        return layers.Dense(units, activation, **parts)

    if dataset == "mnist":
        likelihood, maps = IndependentBernoulli(image_shape, projection=False), 1
    else:
        likelihood, maps = IndependentNormal(image_shape, activation="sigmoid", projection=False), 2
    # `projection=False`: so all weights are those of layers made by `dense`.
    posterior = IndependentNormal(latents, projection=False)
    encoder = keras.Sequential([layers.Flatten(), dense(hidden, "tanh"), dense(2 * latents), posterior])
    decoder = keras.Sequential([dense(hidden, "tanh"), dense(maps * math.prod(image_shape)), likelihood])
    vae = keras_vae.VAE(encoder, decoder, seed=seed)
    # Keras's epsilon of 1e-7 would drown the squares of gradients that are the prior's alone, those of pixels that are
    # always blank. This one only keeps 0 / 0 away.
    vae.compile(keras.optimizers.Adagrad(step_size, initial_accumulator_value=0.0, epsilon=1e-30))
    return vae


class Panel:
    """One N_z: its curve as far as it has come, and the two files that it goes on from.

    Args:
        args: the command line.
        latents: N_z.

    Raises:
        ValueError: the folder holds this panel with other settings.
    """

    def __init__(self, args, latents):
        self.latents, self.seed = latents, args.seed
        names = ("dataset", "hidden", "step_size", "seed")
        self.settings = {"latents": latents, **{name: getattr(args, name) for name in names}}
        self.record_file, self.model_file = (
            args.out / f"{args.dataset}_{latents}.{kind}" for kind in ("json", "keras")
        )
        record = json.loads(self.record_file.read_text()) if self.record_file.exists() else {"settings": self.settings}
        if record["settings"] != self.settings:
            raise ValueError(
                f"{args.out} holds a run of other settings: expected {record['settings']}; received: {self.settings}"
            )
        self.trials = record.get("trials", {})  # the bound after the trial of each step size
        self.step_size = record.get("step_size", args.step_size)  # None until it is chosen
        self.curve = record.get(
            "curve", []
        )  # points: samples, the bounds of train and test, seconds of training so far

    def run(self, x_train, x_test, samples):
        """Trains on so many samples in all, from where the files say that it is; returns whether any were left."""
        if self.curve and self.curve[-1]["samples"] >= samples:
            return False
        print(f"\nN_z = {self.latents}", flush=True)
        if self.step_size is None:
            self.choose_step_size(x_train)
        begun = self.model_file.exists()
        vae = keras.saving.load_model(self.model_file) if begun else self.fresh(x_train, self.step_size)
        # The model's own count of steps says how far it is. Points beyond are evaluated again, to the same numbers.
        start = seen = M * int(vae.optimizer.iterations)
        self.curve = [point for point in self.curve if point["samples"] <= seen]
        seconds = self.curve[-1]["seconds"] if self.curve else 0.0
        began = saved = time.perf_counter()
        for stop in stops(seen, samples):
            before = time.perf_counter()
            train(vae, x_train, seen, stop, self.seed)
            seen, now = stop, time.perf_counter()
            seconds += now - before
            bounds = {}
            if seen in POINTS or seen == samples:
                bounds = {name: bound(vae, x, seen, self.seed) for name, x in (("train", x_train), ("test", x_test))}
                self.curve.append({"samples": seen, **bounds, "seconds": seconds})
                self.save_record()
            report(seen, samples, rate=(seen - start) / (now - began), **bounds)
            if bounds or now - saved > SECONDS:
                replace(self.model_file, vae.save)
                saved = time.perf_counter()
        return True

    def choose_step_size(self, x_train):
        """Takes the step size with the best bound on training images after the first iterations, as the paper did."""
        for step_size in STEP_SIZES:
            vae = self.fresh(x_train, step_size)
            train(vae, x_train, 0, TRIAL, self.seed)
            self.trials[str(step_size)] = bound(vae, x_train, TRIAL, self.seed)
            print(f"  step size {step_size:4}: {self.trials[str(step_size)]:.2f} after {TRIAL:,} samples", flush=True)
        self.step_size = max(STEP_SIZES, key=lambda size: np.nan_to_num(self.trials[str(size)], nan=-math.inf))
        self.save_record()

    def fresh(self, x_train, step_size):
        """An untrained VAE."""
        settings = {**self.settings, "step_size": step_size}
        return build(**settings, image_shape=x_train.shape[1:], num_train=len(x_train))

    def save_record(self):
        record = {name: getattr(self, name) for name in ("settings", "trials", "step_size", "curve")}
        replace(self.record_file, lambda path: path.write_text(json.dumps(record, indent=1)))


def train(vae, x, start, stop, seed):
    """Trains on the samples from `start` to `stop` of an endless row: epoch after epoch of x, each in a new order."""
    epochs = range(start // len(x), math.ceil(stop / len(x)))
    order = np.concatenate([np.random.default_rng([seed, epoch]).permutation(len(x)) for epoch in epochs])
    rows = order[start - epochs[0] * len(x) :][: stop - start]
    reseed(vae, seed, start, 0)
    vae.fit(x[rows], batch_size=M, shuffle=False, verbose=0)


def bound(vae, x, seen, seed):
    """The lower bound, nats an image: without the prior's term."""
    reseed(vae, seed, seen, 1)
    return vae.evaluate(x[:SCORED], batch_size=500, verbose=0, return_dict=True)["elbo"]


def reseed(vae, *place):
    """Makes the noise a function of the place in the run: a model's file does not hold how much it has drawn."""
    vae.seed_generator.state.assign(np.random.SeedSequence(place).generate_state(2))


def stops(seen, samples):
    """Where training halts, between `seen` and `samples`: at the points, and at every stride."""
    return sorted({stop for stop in (*POINTS, *range(0, samples, STRIDE), samples) if seen < stop <= samples})


def report(seen, samples, rate, train=None, test=None):
    """A line on a new point of the curve; on a terminal also one between points, for the next to overwrite."""
    left = datetime.timedelta(seconds=round((samples - seen) / rate))
    line = f"  {seen:11,} samples, {rate:6,.0f} a second, {left} left"
    if train is not None:
        print(f"{line}; bound: train {train:.2f}, test {test:.2f}", flush=True)
    elif sys.stdout.isatty():
        print(line, end="\r", flush=True)


def replace(path, save):
    """Writes a file beside it first: whoever is killed meanwhile leaves the old one whole."""
    unfinished = path.with_stem(f"{path.stem}_unfinished")
    save(unfinished)
    os.replace(unfinished, path)


def write(panels, args):
    """Writes the figure, the table and the points; returns their files."""
    picture, markdown, points = files = [args.out / f"aevb_{args.dataset}.{kind}" for kind in ("png", "md", "csv")]
    draw(panels, EXPERIMENTS[args.dataset]).savefig(picture, dpi=110)
    markdown.write_text(table(panels))
    with points.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["latents", "samples", "train", "test", "seconds"])
        rows.writerows([p.latents, *(round(value, 3) for value in point.values())] for p in panels for point in p.curve)
    return files


def table(panels):
    """A row a panel: the step sizes tried, and the bounds at whole decades and at the end."""
    ends = {panel.curve[-1]["samples"] for panel in panels}
    shown = sorted(ends | {10**d for d in range(5, 9) if 10**d < max(ends)})
    headings = [f"{samples:,} samples: train, test" for samples in shown]
    lines = [["N_z", "step size", f"bound after {TRIAL:,}, by step size", *headings, "minutes a million samples"]]
    lines += [["---:"] * len(lines[0])]
    for panel in panels:
        trials = "; ".join(f"{size}: {value:.1f}" for size, value in panel.trials.items())
        bounds = {point["samples"]: f"{point['train']:.1f}, {point['test']:.1f}" for point in panel.curve}
        minutes = panel.curve[-1]["seconds"] / 60 / (panel.curve[-1]["samples"] / 1e6)
        cells = [bounds.get(samples, "") for samples in shown]
        lines += [[panel.latents, panel.step_size, trials, *cells, f"{minutes:.2f}"]]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def draw(panels, experiment):
    """AEVB's curves on the axes of Figure 2, a panel for each N_z."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(panels) + 0.7, 3.2), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(row, panels, strict=True):
        samples = [point["samples"] for point in panel.curve]
        for name, style in (("train", "-"), ("test", "--")):
            axes.plot(samples, [point[name] for point in panel.curve], f"C3{style}", label=f"AEVB ({name})")
        axes.set(title=f"{experiment.name}, $N_z$ = {panel.latents}")
        axes.set(xscale="log", xlim=(1e5, 1e8), ylim=experiment.limits, xticks=[1e5, 1e6, 1e7, 1e8])
        axes.grid(alpha=0.3)
    row[0].set_ylabel("lower bound, nats an image")
    row[-1].legend(loc="lower right")
    figure.supxlabel("training samples evaluated", size="medium")
    figure.get_layout_engine().set(w_pad=0.1)
    return figure


if __name__ == "__main__":
    main()
