"""Quick start: a variational autoencoder learns handwritten digits, is scored on others, and writes some of its own.

    python examples/quickstart.py                                   # scikit-learn's 1,797 digits: no download
    python examples/quickstart.py --data mnist                      # MNIST, which Keras downloads
    python examples/quickstart.py --data mnist --data-dir FOLDER    # MNIST from FOLDER/mnist.npz

It needs `pip install "keras_vae[examples]"`, and writes four pictures and the trained model to the folder `--out`.

Each network ends in a distribution: the encoder in q(z|x), the decoder in p(x|z), a Gaussian whose sigma is learned.
x is an image in its own grey levels, 0 to 16 or 0 to 255, plus uniform noise in [0, 1) on each pixel. The log-density
of such an x is a lower bound on the log-probability of the grey levels themselves (Theis et al., arXiv 1511.01844,
section 3.1). So NLL and ELBO are in nats of the real image, and bits per pixel compare with those of any other model.
"""

import argparse
import importlib.util
import math
import pathlib
import sys
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_vae

EPOCHS = {"digits": 80, "mnist": 15}


class Data(NamedTuple):
    """Images `[N, height, width, 1]`, in grey levels plus noise."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray  # [N], the digit that each test image shows
    levels: int  # how many grey levels there are


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    data = load_digits(args.seed) if args.data == "digits" else load_mnist(args.data_dir, args.seed)

    vae = build(data)
    history = train(vae, data, args.epochs or EPOCHS[args.data])
    report(vae, data, args.seed)

    figures = {
        "reconstructions.png": draw_reconstructions(vae, data),
        "generated.png": draw_generated(vae, data.levels, args.seed),
        "training.png": draw_training(history),
        "latent_space.png": draw_latent_space(vae, data),
    }
    for name, figure in figures.items():
        figure.savefig(args.out / name, dpi=120)
    save_and_reload(vae, data.test, args.out / "vae.keras")
    print("\nWritten:", *[args.out / name for name in (*figures, "vae.keras")], sep="\n  ")


def parse_arguments():
    """The command line; what could fail after training is tried before it."""
    parser = argparse.ArgumentParser(description="Train a variational autoencoder on handwritten digits.")
    parser.add_argument("--data", choices=EPOCHS, default="digits", help="default: %(default)s")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where mnist.npz is, if not at Keras's")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default="quickstart", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="default: {digits} for digits, {mnist} for mnist".format(**EPOCHS))
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"--epochs: expected an integer of at least 1; received: {args.epochs}")
    if not 0 <= args.seed < 2**32:
        parser.error(f"--seed: expected an integer from 0 to 2**32 - 1; received: {args.seed}")
    if args.data_dir is not None and args.data == "digits":
        parser.error("--data-dir: expected only with --data mnist; the digits come with scikit-learn")
    if not all(importlib.util.find_spec(package) for package in ("matplotlib", "sklearn")):
        parser.error('needs matplotlib and scikit-learn. To install them: pip install "keras_vae[examples]"')
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: cannot make the folder {args.out}: {error.strerror}")
    return args


def load_digits(seed):
    """scikit-learn's digits, 8x8 pixels of 17 grey levels: 297 to test on, the others to train and validate on."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.images))
    test, rest = order[:297], order[297:]
    return prepare(digits.images[rest], digits.images[test], digits.target[test], 17, seed)


def load_mnist(folder, seed):
    """MNIST, 28x28 pixels of 256 grey levels, from mnist.npz in the folder, or by way of Keras if it is None."""
    try:
        if folder is None:
            (images, _), (test_images, test_labels) = keras.datasets.mnist.load_data()
        else:
            with np.load(folder / "mnist.npz") as file:
                images, test_images, test_labels = file["x_train"], file["x_test"], file["y_test"]
        if images.dtype != "uint8" or images.ndim != 3:
            raise ValueError(f"expected uint8 [N, height, width]; received {images.dtype} {list(images.shape)}")
    except Exception as error:  # a failed download is a bare Exception
        sys.exit(
            f"quickstart: no MNIST to train on: {error}\n"
            "Without a network: put the file mnist.npz (arrays x_train, y_train, x_test and y_test) into a folder, and "
            "give that: --data mnist --data-dir FOLDER"
        )
    return prepare(images, test_images, test_labels, 256, seed)


def prepare(images, test_images, test_labels, levels, seed):
    """Holds out a tenth for validation, and adds the noise. Few images are repeated, each time with other noise."""
    rng = np.random.default_rng(seed)

    def add_noise(grey_levels):
        return (grey_levels + rng.uniform(size=grey_levels.shape)).astype("float32")[..., np.newaxis]

    validation, rest = np.split(rng.permutation(images), [math.ceil(len(images) / 10)])
    rest = np.repeat(rest, math.ceil(5_000 / len(rest)), axis=0)
    return Data(add_noise(rest), add_noise(validation), add_noise(test_images), test_labels, levels)


def build(data):
    """The VAE: two networks, each of which ends in a distribution."""
    image_shape = data.train.shape[1:]
    few = len(data.train) < 10_000
    encoder = keras.Sequential(
        [
            layers.Rescaling(1 / data.levels),
            layers.GaussianNoise(0.15 if few else 0.0),  # in training only: else it learns a few images by heart
            layers.Flatten(),
            *[layers.Dense(256, "relu") for _ in range(3)],
            keras_vae.layers.IndependentNormal(2),  # q(z|x): two latents, so that one picture shows them
        ]
    )
    # One sigma for all pixels. It starts at what a decoder needs that only knows the mean pixel, and shrinks.
    sigma = keras_vae.scales.Shared(initial=float(data.train.std()))
    decoder = keras.Sequential(
        [
            *[layers.Dense(256, "relu") for _ in range(3)],
            layers.Dense(math.prod(image_shape)),
            layers.Rescaling(data.levels),
            keras_vae.layers.IndependentNormal(image_shape, scale=sigma, projection=False),  # p(x|z)
        ]
    )
    return keras_vae.VAE(encoder, decoder)


def train(vae, data, epochs, batch_size=128):
    """Fits the VAE, and returns the scores of every epoch."""
    steps = epochs * math.ceil(len(data.train) / batch_size)
    vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)))
    return vae.fit(data.train, validation_data=data.validation, epochs=epochs, batch_size=batch_size).history


def report(vae, data, seed, num_samples=100):
    """Prints the scores on the test set."""
    scores = vae.evaluate(data.test, verbose=0, return_dict=True)
    log_likelihood = vae.log_likelihood(data.test, num_samples=num_samples, seed=seed).mean()
    pixels, levels = math.prod(data.test.shape[1:]), data.levels
    bits, blind_bits = -scores["elbo"] / (pixels * math.log(2)), math.log2(levels)
    sigma = float(vae.decoder.layers[-1].scale.value())
    print(f"""
{len(data.test):,} test images. Nats are per image, for its {pixels} whole grey levels (0 to {levels - 1}):

  ELBO            {scores["elbo"]:10.2f} nats, -(NLL + KL): a lower bound on log p(x)
  NLL             {scores["nll"]:10.2f} nats, -log p(x|z): what the latents leave open
  KL              {scores["kl"]:10.2f} nats, KL(q(z|x) || p(z)): what the latents say
  log p(x)        {log_likelihood:10.2f} nats: a tighter bound, importance sampled with {num_samples} draws of z
  bits per pixel  {bits:10.3f} bits, -ELBO / ({pixels} log 2); {blind_bits:.3f} if every level were as likely
  sigma           {sigma:10.2f} grey levels, learned: how far pixels lie from the decoder's mean
""")


def draw_reconstructions(vae, data):
    """The first test image of each digit, and the decoder's mean for it."""
    digits, first = np.unique(data.test_labels, return_index=True)
    x = data.test[first]
    figure, axes = new_figure(width=9, height=2.2)
    show_grid(axes, np.concatenate([np.floor(x) + 0.5, vae.reconstruct(x)]), len(digits), data.levels)
    axes.set_title("Test digits (above) and their reconstructions (below)")
    return figure


def draw_generated(vae, levels, seed, rows=5, columns=10):
    """Digits that nobody wrote: the decoder's mean at draws from the prior."""
    figure, axes = new_figure(width=7, height=3.8)
    show_grid(axes, vae.generate(rows * columns, seed=seed), columns, levels)
    axes.set_title("Digits generated from the prior")
    return figure


def draw_training(history):
    """The ELBO and its two parts, by epoch."""
    figure, panels = new_figure(width=12, height=3.6, columns=3)
    titles = {"elbo": "ELBO = -(NLL + KL)", "nll": "NLL: -log p(x|z)", "kl": "KL(q(z|x) || p(z))"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], ".-", label="training")
        axes.plot(epochs, history[f"val_{name}"], ".-", label="validation")
        axes.set(title=title, xlabel="epoch", ylabel="nats per image")
        axes.locator_params("x", integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def draw_latent_space(vae, data):
    """Where the encoder puts each test image."""
    mean = np.asarray(vae.encode(data.test).mean())
    figure, axes = new_figure(width=7.5, height=6.5)
    size = 400 / math.sqrt(len(mean))
    points = axes.scatter(*mean.T, s=size, c=data.test_labels, cmap="tab10", vmin=-0.5, vmax=9.5)
    axes.set(
        title="Test digits in the latent space", xlabel="mean of q(z1|x)", ylabel="mean of q(z2|x)", aspect="equal"
    )
    axes.legend(*points.legend_elements(), title="digit", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def new_figure(width, height, columns=1):
    """A figure, in inches, and its axes. No window opens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def show_grid(axes, images, columns, levels):
    """Shows images `[N, height, width, 1]` in rows of `columns`, ink dark."""
    _, height, width, _ = images.shape
    gap = width // 8
    framed = np.pad(np.asarray(images)[..., 0], [(0, 0), (0, gap), (0, gap)])
    rows = framed.reshape(-1, columns, height + gap, width + gap)
    picture = np.vstack([np.hstack(row) for row in rows])[:-gap, :-gap]
    axes.imshow(picture, cmap="gray_r", vmin=0.5, vmax=levels - 0.5)  # the noise adds 0.5 to a level on average
    axes.axis("off")


def save_and_reload(vae, x, path):
    """Saves the VAE, and compares what comes back with it."""
    vae.save(path)
    reloaded = keras.saving.load_model(path)
    difference = np.abs(vae.reconstruct(x) - reloaded.reconstruct(x)).max()
    print(f"Saved and reloaded: the reconstructions differ by at most {difference:.2g} grey levels.")


if __name__ == "__main__":
    main()
