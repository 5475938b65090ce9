"""Which images are strange? A VAE learns one digit, leaves Python as a SavedModel, and scores what it never saw.

    python examples/anomaly_detection.py                                   # scikit-learn's 8x8 digits: no download
    python examples/anomaly_detection.py --digit 3
    python examples/anomaly_detection.py --data mnist                      # MNIST, which Keras downloads
    python examples/anomaly_detection.py --data mnist --data-dir FOLDER    # MNIST from FOLDER/mnist.npz

It needs `pip install "keras_vae[examples]"`, takes about a minute on two cores, and writes two pictures and the
exported model, as its next version, to the folder `--out`. How to put that behind a server: serving.md.

The model is trained on images of the digit `--digit` alone and exported. Another process, which has TensorFlow and
NumPy but none of keras_vae, Keras and TensorFlow Probability, loads it and scores held-out images of the same digit and
images of all others by the signature `score`. The less probable an image, the stranger. Three scores are compared:

    log p(x)        importance sampled, by `--num-samples` draws of z from q(z|x)
    ELBO            its lower bound, of one draw: E_q[ log p(x|z) ] - KL(q(z|x) || p(z))
    squared error   between x and the reconstruction, the usual one

AUROC is the chance that an image of another digit is stranger than one of the trained digit: 1 is always, 0.5 guessing.
No other digit has a part in training, and the weights kept are those of the epoch that is best on other images of the
trained digit.

The likelihood is a Gaussian with one learned sigma, of grey levels plus uniform noise in [0, 1), divided by their
number: the noise makes it a lower bound on the log-probability of the levels (Theis et al., arXiv 1511.01844, section
3.1). One sigma, so that all pixels count alike: one that never varies in training would otherwise have its own at the
floor, and decide alone. And a Gaussian, since a pixel far off then costs the square of how far. `DiscretizedLogistic`,
the exact likelihood of levels, asks in proportion: on scikit-learn's eights its log p(x) had an AUROC of 0.91.

What came out for eights, with the defaults, by log p(x), ELBO and squared error:

    scikit-learn's    0.988  0.971  0.983    log p(x) is a little ahead, as with seeds 1 and 2; less than it varies
    MNIST's           0.902  0.905  0.906    all alike; ones are found worse than by guessing, 0.44

So a VAE's log p(x) is no sure sign: few pixels of ink are easy to foretell, and an image of a one is likely under a
model of eights for that alone. Others found as much (Nalisnick et al., arXiv 1810.09136). The table goes digit by
digit: look at such a table of your own data before you trust the score.
"""

import argparse
import importlib.util
import inspect
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_vae

EPOCHS = {"digits": 40, "mnist": 30}
LATENTS = {"digits": 8, "mnist": 16}
COPIES = {"digits": 20, "mnist": 1}  # of an image in an epoch, each with noise of its own
BATCH = 100
# Each is higher the stranger an image is.
TITLES = {"log_likelihood": "log p(x)", "elbo": "ELBO", "squared_error": "squared error"}


class Data(NamedTuple):
    """Images `[N, height, width, 1]`, in [0, 1): grey levels plus noise, divided by their number."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray  # of the trained digit and of all others
    test_labels: np.ndarray  # [N], the digit that each test image shows


def main(arguments=None):
    args = parse_arguments(arguments)
    keras.utils.set_random_seed(args.seed)
    data = load(args)
    vae = build(data, LATENTS[args.data], args.seed)
    train(vae, data, args.epochs or EPOCHS[args.data])
    served = next_version(args.out / "served" / "vae")
    vae.export(served)

    found = score_elsewhere(served, data.test, args.num_samples, args.seed)
    strangeness = {
        "log_likelihood": -found["log_likelihood"],
        "elbo": -found["elbo"],
        "squared_error": ((data.test - found["reconstruction"]) ** 2).mean((1, 2, 3)),
    }
    report(strangeness, data.test_labels, args.digit)
    figures = {
        "roc.png": draw_roc(strangeness, data.test_labels, args.digit),
        "strangest.png": draw_strangest(strangeness["log_likelihood"], found["reconstruction"], data, args.digit),
    }
    for name, figure in figures.items():
        figure.savefig(args.out / name, dpi=120)
    print("\nWritten:", *[args.out / name for name in figures], served, sep="\n  ")


def next_version(folder):
    """The folder in a model's own that TensorFlow Serving takes for its latest version: the highest number as yet."""
    versions = [int(entry.name) for entry in folder.iterdir() if re.fullmatch("[0-9]+", entry.name)]
    return folder / str(max(versions, default=0) + 1)


def parse_arguments(arguments=None):
    """The command line; what could fail after training is tried before it."""
    parser = argparse.ArgumentParser(description="Train on one digit, export, and find the others by their log p(x).")
    parser.add_argument("--data", choices=EPOCHS, default="digits", help="default: %(default)s")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where mnist.npz is, if not at Keras's")
    parser.add_argument("--digit", type=int, default=8, help="the one to train on, 0 to 9; default: %(default)s")
    parser.add_argument("--epochs", type=int, help="default: {digits} for digits, {mnist} for mnist".format(**EPOCHS))
    parser.add_argument("--num-samples", type=int, default=100, help="of z, for log p(x); default: %(default)s")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default="anomaly_detection", help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    args = parser.parse_args(arguments)
    if not 0 <= args.digit <= 9:
        parser.error(f"--digit: expected an integer from 0 to 9; received: {args.digit}")
    for name, least in (("epochs", 1), ("num_samples", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and not least <= value < 2**31:
            option = name.replace("_", "-")
            parser.error(f"--{option}: expected an integer from {least} to 2**31 - 1; received: {value}")
    if args.data_dir is not None and args.data == "digits":
        parser.error("--data-dir: expected only with --data mnist; the digits come with scikit-learn")
    if not all(importlib.util.find_spec(package) for package in ("matplotlib", "sklearn")):
        parser.error('needs matplotlib and scikit-learn. To install them: pip install "keras_vae[examples]"')
    folder = args.out / "served" / "vae"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: cannot make the folder {folder}: {error.strerror}")
    return args


def load(args):
    """The trained digit in three parts, and all other digits, which are only tested."""
    rng = np.random.default_rng(args.seed)
    if args.data == "digits":
        import sklearn.datasets

        digits = sklearn.datasets.load_digits()
        is_normal, levels = digits.target == args.digit, 17
        test, images = split(rng.permutation(digits.images[is_normal]), 3)
        labels = np.concatenate([np.full(len(test), args.digit), digits.target[~is_normal]])
        test = np.concatenate([test, digits.images[~is_normal]])
    else:
        train_images, train_labels, test, labels = load_mnist(args.data_dir)
        levels, images = 256, train_images[train_labels == args.digit]
        if len(images) < 2 or not any(labels == args.digit) or all(labels == args.digit):
            sys.exit(f"anomaly_detection: expected MNIST with images of {args.digit} and of others; received too few")
    validation, images = split(rng.permutation(images), 10)

    def add_noise(grey_levels):
        return ((grey_levels + rng.uniform(size=grey_levels.shape)) / levels).astype("float32")[..., np.newaxis]

    images, validation = (np.repeat(each, COPIES[args.data], axis=0) for each in (images, validation))
    return Data(add_noise(images), add_noise(validation), add_noise(test), labels)


def split(images, parts):
    """One part in so many, rounded up, and the rest."""
    return np.split(images, [math.ceil(len(images) / parts)])


def load_mnist(folder):
    """MNIST's four arrays from mnist.npz in the folder, or by way of Keras if it is None."""
    try:
        if folder is None:
            (images, labels), (test, test_labels) = keras.datasets.mnist.load_data()
        else:
            with np.load(folder / "mnist.npz") as file:
                images, labels, test, test_labels = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
        if images.dtype != "uint8" or images.ndim != 3:
            raise ValueError(f"expected uint8 [N, height, width]; received {images.dtype} {list(images.shape)}")
    except Exception as error:  # a failed download is a bare Exception
        sys.exit(
            f"anomaly_detection: no MNIST to train on: {error}\n"
            "Without a network: put the file mnist.npz (arrays x_train, y_train, x_test and y_test) into a folder, and "
            "give that: --data mnist --data-dir FOLDER"
        )
    return images, labels, test, test_labels


def build(data, latents, seed):
    """The VAE: two networks, each of which ends in a distribution."""
    image_shape = data.train.shape[1:]

    def hidden():
        return [layers.Dense(256, "relu") for _ in range(2)]

    noise = layers.GaussianNoise(0.15)  # in training only: else it learns a few images by heart
    encoder = keras.Sequential([noise, layers.Flatten(), *hidden(), keras_vae.layers.IndependentNormal(latents)])
    # One sigma for all pixels. It starts at what a decoder needs that only knows the mean pixel, and shrinks.
    sigma = keras_vae.scales.Shared(initial=float(data.train.std()))
    decoder = keras.Sequential([*hidden(), keras_vae.layers.IndependentNormal(image_shape, scale=sigma)])
    return keras_vae.VAE(encoder, decoder, seed=seed)


def train(vae, data, epochs):
    """Fits the VAE, and gives it back the weights of its best epoch."""
    print(f"Training on {len(data.train):,} images an epoch, for {epochs} epochs ", end="", flush=True)
    steps = epochs * math.ceil(len(data.train) / BATCH)
    vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)))
    best = keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=epochs, restore_best_weights=True)
    dots = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(".", end="", flush=True))
    times = {"epochs": epochs, "batch_size": BATCH}
    vae.fit(data.train, validation_data=data.validation, callbacks=[best, dots], verbose=0, **times)
    print(f"\nThe best, {best.best_epoch + 1}, has a validation ELBO of {best.best:.2f} nats")


def score_elsewhere(served, x, num_samples, seed):
    """What `serve` finds of x: a dictionary of arrays, [N, ...]."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = pathlib.Path(folder, "given.npz"), pathlib.Path(folder, "found.npz")
        np.savez(given, x=x)
        # The function's text alone: this file imports keras_vae.
        program = f"{inspect.getsource(serve)}\nimport sys\nserve(*sys.argv[1:])"
        start = time.monotonic()
        settings = map(str, (served, given, found, num_samples, seed))
        print("\nIn another process:", flush=True)
        if subprocess.run([sys.executable, "-c", program, *settings], check=False).returncode:
            sys.exit("anomaly_detection: the process that loads the exported model failed; see above")
        print(f"  {len(x):,} images scored in {time.monotonic() - start:.0f} s, its start included", flush=True)
        with np.load(found) as file:
            return dict(file)


def serve(served, given, found, num_samples, seed):
    """All that a process needs which has the exported model and TensorFlow, and none of what made the model."""
    import os
    import sys

    absent = ["keras_vae", "keras", "tf_keras", "tensorflow_probability"]
    sys.modules.update(dict.fromkeys(absent))  # from here on, to import one of these is an error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    import numpy as np
    import tensorflow as tf

    model = tf.saved_model.load(served)
    score, reconstruct = model.signatures["score"], model.signatures["reconstruct"]
    num_samples, seed, batch = tf.constant(int(num_samples), tf.int32), int(seed), 250
    with np.load(given) as file:
        x = file["x"]
    results = []
    for start in range(0, len(x), batch):
        part = tf.constant(x[start : start + batch])
        draws = tf.constant(seed + start, tf.int64)  # other draws for each batch
        results.append({**score(x=part, num_samples=num_samples, seed=draws), **reconstruct(x=part)})
    np.savez(found, **{name: np.concatenate([each[name] for each in results]) for name in results[0]})

    loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
    assert not loaded & set(absent), loaded
    print(f"  signatures {sorted(model.signatures)}")
    print(f"  imported: tensorflow {tf.__version__}, numpy {np.__version__}; not {', '.join(absent)}", flush=True)


def report(strangeness, labels, digit):
    """Prints the AUROC of each score, against all other digits and against each."""
    print(f"\nAUROC: how often an image of another digit is stranger than one of {(labels == digit).sum():,} held-out")
    print(f"images of {digit}; ± is the standard error, for so many images and this one model.\n")
    print(f"  {'other digit':<14}{'images':>8}", *[f"{title:>18}" for title in TITLES.values()], sep="")
    others = sorted(set(labels.tolist()) - {digit})
    for name, which in {"all": others, **{str(other): [other] for other in others}}.items():
        chosen = np.isin(labels, [digit, *which])
        is_strange = labels[chosen] != digit
        cells = ["{:.4f} ± {:.4f}".format(*auroc(is_strange, strangeness[score][chosen])) for score in TITLES]
        print(f"  {name:<14}{is_strange.sum():>8,}", *[f"{cell:>18}" for cell in cells], sep="")


def auroc(is_strange, strangeness):
    """The area under the ROC curve, and its standard error (DeLong et al., Biometrics 44(3), 1988).

    The error is of two means, over the images of either kind: of how many of the other kind each is set right against.
    """
    from sklearn.metrics import roc_auc_score

    strange, normal = strangeness[is_strange, np.newaxis], strangeness[np.newaxis, ~is_strange]
    is_right = (strange > normal) + 0.5 * (strange == normal)
    variances = [mean.var(ddof=1) / len(mean) if len(mean) > 1 else math.nan for mean in map(is_right.mean, (1, 0))]
    return roc_auc_score(is_strange, strangeness), math.sqrt(sum(variances))


def draw_roc(strangeness, labels, digit):
    """How log p(x) is spread over both kinds of image, and the ROC curve of each score."""
    from sklearn.metrics import roc_curve

    is_strange, log_p = labels != digit, -strangeness["log_likelihood"]
    figure = new_figure(width=10.5, height=4.4)
    spread, curves = figure.subplots(1, 2)
    # A few images are stranger by far: the lowest bin is theirs too.
    low, high = np.quantile(log_p, 0.02), log_p.max()
    bins = np.linspace(low, high, 41)
    for which, title, colour in ((is_strange, "other digits", "tab:orange"), (~is_strange, f"{digit}", "tab:blue")):
        values = np.clip(log_p[which], low, high)
        spread.hist(values, bins, weights=np.full(len(values), 100 / len(values)), label=title, color=colour, alpha=0.6)
    spread.set(
        title="Test images by their log p(x)",
        xlabel="log p(x), nats; in the lowest bin all below it too",
        ylabel="% of the images of a kind",
    )
    spread.legend()

    for (name, title), colour in zip(TITLES.items(), ("tab:purple", "tab:olive", "tab:green"), strict=True):
        false_alarms, hits, _ = roc_curve(is_strange, strangeness[name])
        area, _ = auroc(is_strange, strangeness[name])
        curves.plot(false_alarms, hits, label=f"{title}: AUROC {area:.3f}", color=colour)
    curves.plot([0, 1], [0, 1], color="0.7", linestyle=":", label="guessing: 0.5")
    curves.set(
        title=f"Other digits found, by a model of {digit}",
        xlabel=f"share of the images of {digit} taken for strange",
        ylabel="share of the other digits found",
        aspect="equal",
    )
    curves.legend(loc="lower right")
    for axes in (spread, curves):
        axes.set_axisbelow(True)
        axes.grid(alpha=0.3)
    return figure


def draw_strangest(strangeness, reconstructions, data, digit, number=10):
    """The images of lowest log p(x), of all and of the trained digit, and what the model makes of each."""
    order = np.argsort(-strangeness)
    groups = {
        "The strangest of all test images": order[:number],
        f"The strangest test images of {digit}": order[data.test_labels[order] == digit][:number],
    }
    figure = new_figure(width=10.5, height=5.4)
    for part, (title, chosen) in zip(figure.subfigures(2, 1), groups.items(), strict=True):
        part.suptitle(f"{title}: the digit, and log p(x) in nats")
        panels = part.subplots(2, number)
        for axes, name in zip(panels[:, 0], ("image", "reconstruction"), strict=True):
            axes.set_ylabel(name)
        for column, index in enumerate(chosen):
            panels[0, column].set_title(f"{data.test_labels[index]}: {-strangeness[index]:,.0f}", fontsize=10)
            for axes, image in zip(panels[:, column], (data.test[index], reconstructions[index]), strict=True):
                axes.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.set_visible(axes.has_data())
    return figure


def new_figure(width, height):
    """A figure, in inches. No window opens."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


if __name__ == "__main__":
    main()
