"""A linear VAE is probabilistic PCA: Adam on the ELBO finds the maximum likelihood that eigenvectors give exactly.

    python examples/linear_vae_is_ppca.py                  # scikit-learn's 1,797 digits: no download; two minutes
    python examples/linear_vae_is_ppca.py --latents 3      # another number of latents, by the same schedule

It needs `pip install "keras_vae[examples]"`, prints a table, writes a figure to the folder `--out`, and fails if a row
of the table misses the bars below.

With a linear decoder and one sigma, p(x) is a Gaussian in closed form:

    z ~ N(0, I),  x|z ~ N(W z + b, sigma^2 I)    =>    x ~ N(b, W W' + sigma^2 I)

Its maximum likelihood (Tipping & Bishop, "Probabilistic Principal Component Analysis", 1999) is, up to a rotation,
W = U (L - sigma^2 I)^1/2, with U and L the k leading eigenvectors and eigenvalues of the data's covariance, b the mean,
and sigma^2 the mean of the eigenvalues left out. The posterior, N(V W'(x - b) / sigma^2, V) with
V = (I + W'W / sigma^2)^-1, is one that a linear encoder with a diagonal covariance can equal where W's columns are
orthogonal. There the ELBO *is* the log-likelihood; so at the ELBO's maximum the VAE is PPCA, and its columns point
along PCA's components (Lucas et al., "Don't Blame the ELBO!", arXiv 1911.02469). A constant left out of the
likelihood, a factor in front of the KL or a sigma learned from the wrong sum would show here.
"""

import argparse
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import scipy.linalg

import keras_vae

# One schedule for every number of latents. A step sees all images, and several draws for each: noise in the gradient
# turns the subspace, most of all where the last eigenvalue kept is close to the first one left out.
LEARNING_RATE, EPOCHS, STEPS_PER_EPOCH, DRAWS = 0.03, 60, 50, 4

# The bars: |ELBO - PCA's score| in nats, |sigma^2 / PCA's - 1|, and the largest angle between the subspaces in degrees.
NATS, RATIO, DEGREES = 0.1, 0.01, 1.0


class Result(NamedTuple):
    """A VAE of `latents` latents beside the PCA of as many components; nats are means over the test images."""

    latents: int
    elbo: float
    log_likelihood: float  # importance sampled
    pca_score: float  # PCA's log-likelihood, exact
    variance: float  # sigma^2, learned
    pca_variance: float
    angle: float  # degrees: the largest principal angle between the decoder's columns and PCA's components
    columns: np.ndarray  # [latents, 64], W', longest first
    pca_components: np.ndarray  # [latents, 64], of unit length
    training_gap: np.ndarray  # [EPOCHS], PCA's score on the training images minus the ELBO there


def main(arguments=None):
    args = parse_arguments(arguments)
    x_train, x_test = load_digits(args.seed)
    print(f"{len(x_train):,} digits to train on, {len(x_test)} to test on; nats per test image\n")
    print("  k       ELBO   log p(x)  PCA score     ELBO - PCA    sigma^2        PCA    ratio    angle")
    results = []
    for latents in args.latents:
        results.append(compare(x_train, x_test, latents, args.seed))
        print(row(results[-1]), flush=True)
    draw(results, x_train).savefig(args.out / "linear_vae_is_ppca.png", dpi=120)
    print(f"\nWritten: {args.out / 'linear_vae_is_ppca.png'}")
    check(results)
    print(f"All within {NATS} nats, {RATIO:.0%} of sigma^2 and {DEGREES:g} degree of PCA.")
    return results


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description="Train linear VAEs, and compare them with PCA.")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default="linear_vae_is_ppca", help="%(default)s")
    parser.add_argument("--latents", type=int, nargs="+", metavar="K", default=[2, 5, 10], help="default: 2 5 10")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    args = parser.parse_args(arguments)
    if not all(1 <= latents <= 60 for latents in args.latents):  # beyond, no variance is left for sigma
        parser.error(f"--latents: expected integers from 1 to 60; received: {args.latents}")
    if not 0 <= args.seed < 2**32:
        parser.error(f"--seed: expected an integer from 0 to 2**32 - 1; received: {args.seed}")
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def load_digits(seed):
    """1,500 digits to train on and 297 to test on, `[N, 64]`. Sixteenths, so that float32 holds them exactly."""
    import sklearn.datasets

    x = sklearn.datasets.load_digits().data / 16
    return np.split(np.random.default_rng(seed).permutation(x), [1500])


def build(latents):
    """Two networks of one linear layer each. The posterior's covariance is one for all x, as the exact one's is."""
    encoder = keras.Sequential([keras_vae.layers.IndependentNormal(latents, scale=keras_vae.scales.PerDimension())])
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal(64, scale=keras_vae.scales.Shared())])
    return keras_vae.VAE(encoder, decoder, objective=keras_vae.objectives.ELBO(num_samples=DRAWS))


def train(vae, x):
    """Fits the VAE, and returns the ELBO of every epoch."""
    # To a rate of zero, so that the draws' noise averages out.
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * STEPS_PER_EPOCH)
    vae.compile(keras.optimizers.Adam(schedule))
    # A batch is the whole set. Copies of it make an epoch of many steps: Keras's work between epochs takes time.
    copies = np.tile(x, (STEPS_PER_EPOCH, 1))
    return vae.fit(copies, batch_size=len(x), epochs=EPOCHS, shuffle=False, verbose=0).history["elbo"]


def compare(x_train, x_test, latents, seed):
    """Trains a VAE, fits a PCA to the same images, and scores both on the same others."""
    from sklearn.decomposition import PCA

    keras.utils.set_random_seed(seed)
    vae = build(latents)
    training_elbo = train(vae, x_train)
    # The same networks, with draws enough that the mean over the test images is good to about 0.005 nats.
    precise = keras_vae.VAE(vae.encoder, vae.decoder, objective=keras_vae.objectives.ELBO(num_samples=1000))
    precise.compile()
    # The decoder is linear: its columns are what unit vectors add to what zero gives.
    columns = np.asarray(vae.decode(np.eye(latents)).mean() - vae.decode(np.zeros((1, latents))).mean())

    # PCA's noise variance divides by N - 1 where the maximum likelihood, and so the VAE, divides by N: 0.07% apart.
    pca = PCA(latents, svd_solver="full").fit(x_train)
    return Result(
        latents=latents,
        elbo=precise.evaluate(x_test, verbose=0, return_dict=True)["elbo"],
        log_likelihood=float(vae.log_likelihood(x_test, num_samples=1000, verbose=0, seed=seed).mean()),
        pca_score=float(pca.score(x_test)),
        variance=float(vae.decoder.layers[-1].scale.value()) ** 2,
        pca_variance=float(pca.noise_variance_),
        angle=float(np.degrees(scipy.linalg.subspace_angles(columns.T, pca.components_.T).max())),
        columns=columns[np.argsort(-np.linalg.norm(columns, axis=1))],
        pca_components=pca.components_,
        training_gap=pca.score(x_train) - np.asarray(training_elbo),
    )


def row(result):
    """A line of the table."""
    r, ratio = result, result.variance / result.pca_variance
    return (
        f"{r.latents:3d} {r.elbo:10.4f} {r.log_likelihood:10.4f} {r.pca_score:10.4f} {r.elbo - r.pca_score:+9.4f} nats"
        f" {r.variance:10.6f} {r.pca_variance:10.6f} {ratio:8.5f} {r.angle:5.2f} deg"
    )


def check(results):
    """Raises an AssertionError if a result misses a bar."""
    for result in results:
        distances = {
            "ELBO": (abs(result.elbo - result.pca_score), NATS),
            "sigma^2": (abs(result.variance / result.pca_variance - 1), RATIO),
            "angle": (result.angle, DEGREES),
        }
        for name, (distance, bar) in distances.items():
            if not distance <= bar:  # nor NaN
                raise AssertionError(f"{result.latents} latents: {name}: expected at most {bar}; received: {distance}")


def draw(results, x_train):
    """How the ELBO closes in on PCA, the spectrum of each model's covariance, and the columns beside the components."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[2, 1])
    training, spectrum = above.subplots(1, 2)

    training.axhspan(-NATS, NATS, color="0.9", label=f"within {NATS} nats")
    steps = STEPS_PER_EPOCH * np.arange(1, EPOCHS + 1)
    for result in results:
        training.plot(steps, result.training_gap, label=f"{result.latents} latents")
    training.set_yscale("symlog", linthresh=NATS)  # an epoch's draws may put the ELBO above
    training.set_ylim(bottom=-0.3 * NATS)
    training.set(title="PCA's score - ELBO, training images", xlabel="step", ylabel="nats per image")

    # The eigenvalues of W W' + sigma^2 I: sigma^2, and above it the squared lengths of W's orthogonal directions.
    eigenvalues = np.linalg.eigvalsh(np.cov(x_train.T, bias=True))[::-1]
    spectrum.plot(np.arange(1, 65), eigenvalues, color="0.6", label="the data's covariance")
    for result in results:
        learned = np.full(64, result.variance)
        learned[: result.latents] += np.linalg.svd(result.columns, compute_uv=False) ** 2
        spectrum.plot(np.arange(1, 65), learned, ".", label=f"VAE, {result.latents} latents")
    spectrum.set(title="Eigenvalues", xlabel="rank", yscale="log", ylim=(1e-3, 1))
    for axes in (training, spectrum):
        axes.grid(alpha=0.3)
        axes.legend()

    largest = max(results, key=lambda result: result.latents)
    directions = largest.columns / np.linalg.norm(largest.columns, axis=1, keepdims=True)
    signs = np.sign(np.sum(directions * largest.pca_components, axis=1, keepdims=True))  # a latent may be mirrored
    images = np.stack([largest.pca_components, signs * directions])
    panels = below.subplots(2, largest.latents, squeeze=False)
    for axes, image in zip(panels.flat, images.reshape(-1, 8, 8), strict=True):
        axes.imshow(image, cmap="RdBu", vmin=-0.4, vmax=0.4)
        axes.set(xticks=[], yticks=[])
    # Columns of close eigenvalues turn among themselves last: that costs the ELBO thousandths, the subspace nothing.
    below.suptitle(
        "PCA's components (above) and the decoder's columns, scaled to unit length (below).\n"
        "Where eigenvalues are close, columns still mix: the subspace is the same."
    )
    return figure


if __name__ == "__main__":
    main()
