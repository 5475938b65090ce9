"""Where should a decoder's sigma come from? The sigma-VAE paper's table, on MNIST and on Frey Faces.

    python examples/sigma_table.py --data-dir FOLDER              # both, from FOLDER/mnist.npz and freyfaces.npz
    python examples/sigma_table.py --dataset mnist                # MNIST, which Keras downloads

It needs `pip install "keras_vae[examples]"`, takes half an hour or more on two cores, and writes table.md and
samples.png to the folder `--out`. Every finished fit is kept there, so that a run that was stopped goes on. What came
out, and what it says: results/sigma_table/table.md.

One network with five Gaussian decoders, which differ in sigma alone:

    log p(x|z) = -sum_i [ log(2 pi) / 2 + log sigma_i + (x_i - mu_i(z))^2 / (2 sigma_i^2) ]

sigma is 1, as in the plain squared error; or tuned, a fit for each value, which is to tune beta; or for each pixel a
function of z; or one number, learned; or the one that is best for each batch (Rybkin, Daniilidis & Levine, "Simple and
Effective VAE Training with Calibrated Decoders", arXiv 2006.13202).

x is a grey level, 0 to 255, plus uniform noise in [0, 1), divided by 256. Without the noise a pixel that is always
black has no largest density: its sigma falls to whatever floor there is, and the score says what the floor was. With it

    log P(grey levels) >= E_noise[ log p(x) ] - D log 256      (Theis et al., arXiv 1511.01844, section 3.1),

so that no model scores above D log 256 nats on average, and bits per dimension, 8 - log p(x) / (D log 2), are those of
the images themselves. The noise's standard deviation is 0.0011: the floor of a learned sigma, 0.001, decides little.

Each fit keeps the weights of the epoch that is best on validation images. They choose the tuned sigma too. Frey Faces
are frames of one film, split at random: each test frame has near twins to learn from.
"""

import argparse
import importlib.util
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
from keras_vae import scales

TITLES = {"mnist": "MNIST", "freyfaces": "Frey Faces"}
HIDDEN, EPOCHS = {"mnist": 400, "freyfaces": 200}, {"mnist": 10, "freyfaces": 15}
COPIES = {"mnist": 1, "freyfaces": 20}  # of an image in an epoch, each with noise of its own
HELD_OUT = {"mnist": 5000, "freyfaces": 200}  # images to validate on, and as many frames to test on
LATENTS, BATCH, RATE = 20, 100, 2e-3
SCORED = 500  # test images whose log p(x) is importance sampled, or all there are
MEANS, DRAWS = 10, 4  # samples in the picture: means of p(x|z), and draws from it
COLORS = {"mnist": "gray_r", "freyfaces": "gray"}  # ink is dark
# The paper's bounds on MNIST, in its table with the other sign.
PAPER = {"Fixed(1)": -740.5, "Fixed(tuned)": 796.2, "PerElement()": 2895.0, "Shared()": 896.1}
MISSING = {
    "mnist": """expected arrays x_train and x_test, uint8 [N, 28, 28].
Without a network: put mnist.npz, as Keras downloads it, into a folder, and give that: --data-dir FOLDER""",
    "freyfaces": """expected --data-dir FOLDER, with FOLDER/freyfaces.npz: an array x, uint8 [1965, 28, 20].
To make it from frey_rawface.mat (https://cs.nyu.edu/~roweis/data.html):
    frames = scipy.io.loadmat("frey_rawface.mat")["ff"].T.reshape(-1, 28, 20)
    numpy.savez("freyfaces.npz", x=frames)""",
}


class Data(NamedTuple):
    """Images `[N, height, width]`, in [0, 1)."""

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def main(arguments=None):
    args = parse_arguments(arguments)
    found = []
    for data in [load(name, args.data_dir, args.seed) for name in args.dataset]:  # all, before the work begins
        tried = tune(data, args)
        found.append((data, compare(data, max(tried, key=tried.get), args), tried))
    text = "\n".join(table(*each, args) for each in found)
    (args.out / "table.md").write_text(text)
    draw(found).savefig(args.out / "samples.png", dpi=80)
    print(f"\n{text}\nWritten: {args.out / 'table.md'}, {args.out / 'samples.png'}")


def parse_arguments(arguments=None):
    """The command line; what could fail after training is tried before it."""
    parser = argparse.ArgumentParser(description="Compare where a Gaussian decoder's sigma may come from.")
    parser.add_argument("--dataset", choices=EPOCHS, nargs="+", default=list(EPOCHS), help="default: both")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where mnist.npz and freyfaces.npz are")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default="sigma_table", help="%(default)s")
    parser.add_argument("--epochs", type=int, help="default: {mnist} (mnist), {freyfaces} (freyfaces)".format(**EPOCHS))
    parser.add_argument("--num-samples", type=int, default=1000, help="of z, for log p(x); default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    args = parser.parse_args(arguments)
    for name, least in (("epochs", 1), ("num_samples", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and not least <= value < 2**31:
            option = name.replace("_", "-")
            parser.error(f"--{option}: expected an integer from {least} to 2**31 - 1; received: {value}")
    if importlib.util.find_spec("matplotlib") is None:
        parser.error('needs matplotlib. To install it: pip install "keras_vae[examples]"')
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: cannot make the folder {args.out}: {error.strerror}")
    return args


def load(name, folder, seed):
    """The data set, with its noise; MNIST's own test images, and of Frey Faces some."""
    rng = np.random.default_rng(seed)
    try:
        if name == "mnist" and folder is None:
            (images, _), (test, _) = keras.datasets.mnist.load_data()
        else:
            with np.load((folder or pathlib.Path()) / f"{name}.npz") as file:
                images, test = (file["x_train"], file["x_test"]) if name == "mnist" else (file["x"], None)
        if any(each.dtype != "uint8" or each.ndim != 3 for each in (images, test) if each is not None):
            raise ValueError(f"received {images.dtype} {list(images.shape)}")
    except Exception as error:  # a failed download is a bare Exception
        sys.exit(f"sigma_table: no {name} to train on: {error}\n{MISSING[name]}")
    validation, rest = np.split(rng.permutation(images), [HELD_OUT[name]])
    # MNIST's own test images are in an order, the easier half first: log p(x) is of some, which should be fair.
    test, train = np.split(rest, [HELD_OUT[name]]) if test is None else (rng.permutation(test), rest)

    def add_noise(grey_levels):
        return ((grey_levels + rng.uniform(size=grey_levels.shape)) / 256).astype("float32")

    return Data(name, add_noise(np.tile(train, (COPIES[name], 1, 1))), add_noise(validation), add_noise(test))


def tune(data, args):
    """The validation ELBO by fixed sigma, up to the best sigma there is to a quarter of an octave.

    From 1/8 on, by octaves, then by halves of them, then by quarters: to the better neighbour, while there is one.
    """

    def validated(quarters):
        sigma = 2 ** (-quarters / 4)
        return kept(data, f"sigma {sigma:.4f}", args, lambda: fit(data, scales.Fixed(sigma), args)[1])

    tried, best = {}, 12
    for step in (4, 2, 1):
        while new := {best - step, best, best + step} - set(tried):
            tried |= {quarters: float(validated(quarters)["validation_elbo"]) for quarters in sorted(new)}
            best = max(tried, key=tried.get)
    return {2 ** (-quarters / 4): elbo for quarters, elbo in sorted(tried.items(), reverse=True)}


def compare(data, tuned, args):
    """What `score` finds of each of the five."""
    five = {
        "Fixed(1)": scales.Fixed(1.0),
        "Fixed(tuned)": scales.Fixed(tuned),
        "PerElement()": scales.PerElement(),
        # It starts at the error of a decoder that knows the mean image alone.
        "Shared()": scales.Shared(initial=float(np.sqrt(data.train.var(axis=0).mean()))),
        "Optimal()": scales.Optimal(),
    }

    def scored(scale):
        vae, validation = fit(data, scale, args)
        return {**validation, **score(vae, data.test, args)}

    return {name: kept(data, name, args, lambda scale=scale: scored(scale)) for name, scale in five.items()}


def kept(data, name, args, make):
    """A dictionary of arrays: what `make` returns, written to a file; or, if there is that file, what it holds."""
    settings = f"{args.epochs or EPOCHS[data.name]} epochs, {args.num_samples} samples, seed {args.seed}"
    path = args.out / "fits" / f"{data.name}, {name}, {settings}.npz"
    print(f"{data.name:>10}, {name:<12} ", end="", flush=True)
    if path.exists():
        print("kept", end="")
    else:
        start, made = time.monotonic(), make()
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.savez(file, **made)
        os.replace(partial, path)  # whole or not at all
        print(f" {time.monotonic() - start:.0f} s", end="")
    with np.load(path) as file:
        result = dict(file)
    print(f", validation ELBO {result['validation_elbo']:.1f}", flush=True)
    return result


def fit(data, scale, args):
    """A VAE with the weights of its best epoch, and the validation ELBO of that."""
    keras.utils.set_random_seed(args.seed)  # the same start and the same batches for every scale
    epochs, width = args.epochs or EPOCHS[data.name], HIDDEN[data.name]
    likelihood = keras_vae.layers.IndependentNormal(data.train.shape[1:], scale=scale, activation="sigmoid")

    def hidden():
        return [layers.Dense(width, "relu") for _ in range(2)]

    encoder = keras.Sequential([layers.Flatten(), *hidden(), keras_vae.layers.IndependentNormal(LATENTS)])
    vae = keras_vae.VAE(encoder, keras.Sequential([*hidden(), likelihood]), seed=args.seed)
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * math.ceil(len(data.train) / BATCH))
    vae.compile(keras.optimizers.Adam(rate))
    best = keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=epochs, restore_best_weights=True)
    dots = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(".", end="", flush=True))
    times = {"epochs": epochs, "batch_size": BATCH}
    vae.fit(data.train, validation_data=data.validation, callbacks=[best, dots], verbose=0, **times)
    return vae, {"validation_elbo": best.best}


def score(vae, test, args):
    """Of all test images ELBO and KL, of some both sides of ELBO <= log p(x), [N]; sigma's spread; samples."""
    some = test[:SCORED]
    scores = vae.evaluate(test, batch_size=BATCH, verbose=0, return_dict=True)
    sigmas = np.asarray(vae.decode(vae.encode(some).mean()).stddev())
    return {
        "elbo": scores["elbo"],
        "kl": scores["kl"],
        "some_elbo": vae.evaluate(some, batch_size=BATCH, verbose=0, return_dict=True)["elbo"],
        "some_log_likelihood": vae.log_likelihood(some, num_samples=args.num_samples, seed=args.seed, verbose=0),
        "sigma": np.quantile(sigmas, [0.05, 0.95]),
        "means": vae.generate(MEANS, seed=args.seed),
        "draws": vae.generate(MEANS, seed=args.seed, sample=True)[:DRAWS],  # of the same z
    }


def table(data, rows, tried, args):
    """The data set's table, and what its rows have in common, as Markdown."""
    some = min(SCORED, len(data.test))
    epochs, copies = args.epochs or EPOCHS[data.name], COPIES[data.name]
    lines = [
        f"""## {TITLES[data.name]}

Nats per image of {" x ".join(map(str, data.test.shape[1:]))} pixels, as densities of x in [0, 1]. Trained on
{len(data.train) // copies:,} images for {epochs * copies} passes, seed {args.seed}; scored on {len(data.test):,} test
images, and log p(x) on {some} of them by {args.num_samples:,} importance samples, with the standard error over images.
Of the sigmas of `PerElement()` the range is given without the lowest and the highest twentieth. The paper has another
network, no noise in x, and no Frey Faces.
""",
        f"| decoder | sigma | ELBO | KL | bits/dim | ELBO, {some} | log p(x), the same {some} | ELBO in the paper |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        low, high = (f"{sigma:.4f}" for sigma in row["sigma"])
        log_p = row["some_log_likelihood"]
        error = log_p.std(ddof=1) / math.sqrt(len(log_p)) if len(log_p) > 1 else math.nan
        cells = [
            f"`{name}`",
            low if low == high else f"{low} to {high}",
            *(f"{row[term]:.1f}" for term in ("elbo", "kl")),
            f"{8 - row['elbo'] / (data.test[0].size * math.log(2)):.3f}",  # of grey levels
            f"{row['some_elbo']:.1f}",
            f"{log_p.mean():.1f} ± {error:.1f}",
            f"{PAPER[name]:.1f}" if data.name == "mnist" and name in PAPER else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    search = "; ".join(f"{sigma:.4f}: {elbo:.1f}" for sigma, elbo in tried.items())
    return "\n".join([*lines, "", f"The search, {len(tried)} fits, validation ELBO by sigma: {search}.", ""])


def draw(found):
    """For each data set test images, and below them a row of samples for each decoder: means left, draws right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2 * len(found)), layout="constrained")
    for axes, (data, rows, _) in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
        height, width = (size + 2 for size in data.test.shape[1:])
        shown = {"test images": {"means": data.test[:MEANS], "draws": data.test[MEANS:][:DRAWS]}, **rows}
        canvas = np.full((len(shown) * height, (MEANS + DRAWS) * width + width // 2), np.nan)  # NaN stays white
        for top, row in zip(range(0, len(canvas), height), shown.values(), strict=True):
            for left, images in ((0, row["means"]), (MEANS * width + width // 2, row["draws"])):
                strip = np.hstack(np.pad(images, [(0, 0), (0, 2), (0, 2)], constant_values=np.nan))
                canvas[top : top + height, left : left + strip.shape[1]] = strip
        axes.imshow(canvas, cmap=COLORS[data.name], vmin=0, vmax=1, interpolation="nearest")
        axes.set_yticks(height * (np.arange(len(shown)) + 0.5), shown)
        groups = {
            "means of p(x|z), z from the prior": MEANS / 2,
            "draws from p(x|z), first four z": MEANS + 0.5 + DRAWS / 2,
        }
        axes.set_xticks(width * np.array(list(groups.values())), groups)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.set_title(TITLES[data.name])
    return figure


if __name__ == "__main__":
    main()
