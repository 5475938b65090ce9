"""More draws make a tighter bound, and a worse gradient for the encoder: unless it is the doubly reparameterized one.

    python examples/signal_to_noise.py             # no data; two minutes
    python examples/signal_to_noise.py --quick     # up to 100 draws; seconds

The setting is that of Rainforth et al., "Tighter Variational Bounds are Not Necessarily Better" (arXiv 1802.04537),
section 4, in 20 dimensions:

    z ~ N(mu, I),    x|z ~ N(z, I),    q(z|x) = N(A x + b, 2/3 I)

A and b are those of the best posterior of this form, I/2 and mu/2, moved by noise of 0.01. For each number of draws S
the gradient of the IWAE bound is drawn 1,000 times, for the same 32 examples. Its signal-to-noise ratio, |mean| over
standard deviation, is averaged over the 20 elements of b, of the encoder, and of mu, of the prior.

Theorem 1 of the paper says that the plain gradient's ratio goes as 1 / sqrt(S) for the encoder, and as sqrt(S) for
the prior. Tucker et al. (arXiv 1810.04152) found an estimator whose ratio grows for both: `IWAE(gradient="dreg")`. The
script prints a table, writes it to the folder `--out`, and fails if a ratio goes the other way. A ratio of 0 would be
measured as 0.025, the error of a mean of 1,000.
"""

import argparse
import pathlib

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import keras_vae

DIMENSIONS, EXAMPLES, NOISE = 20, 32, 0.01
DRAWS, QUICK_DRAWS = (1, 10, 100, 1000), (1, 10, 100)
REPEATS, QUICK_REPEATS = 1000, 300


@keras.saving.register_keras_serializable("signal_to_noise")
class LearnedMean(keras_vae.priors.Prior):
    """p(z) = N(mu, I), with a mean that is learned."""

    def build(self, event_shape):
        super().build(event_shape)
        self.mean = self.add_weight(shape=event_shape, name="mean")

    def distribution(self):
        return tfp.distributions.MultivariateNormalDiag(self.mean, tf.ones(self.latent_shape))


def main(arguments=None):
    args = parse_arguments(arguments)
    x, settings = setting(args.seed)
    draws, repeats = (QUICK_DRAWS, QUICK_REPEATS) if args.quick else (DRAWS, REPEATS)
    rows = []
    for gradient in ("plain", "dreg"):
        for num in draws:
            vae = model(keras_vae.objectives.IWAE(num, gradient=gradient), settings)
            rows.append((gradient, num, *ratios(vae, x, repeats)))
            print("{:>6} {:>6,} draws: {:8.3f} for b, {:8.3f} for mu".format(*rows[-1]), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text(table(rows, draws))
    print(f"\n{table(rows, draws)}")
    check(rows)
    return rows


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Signal-to-noise ratios of gradients of the IWAE bound.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("signal_to_noise"), metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="fewer draws, and fewer times")
    return parser.parse_args(arguments)


def setting(seed):
    """Examples x `[32, 20]`, and A, b and mu as the VAE is to have them."""
    random = np.random.default_rng(seed)
    mean = random.normal(size=DIMENSIONS)
    x = mean + np.sqrt(2.0) * random.normal(size=(EXAMPLES, DIMENSIONS))
    matrix = 0.5 * np.eye(DIMENSIONS) + NOISE * random.normal(size=(DIMENSIONS, DIMENSIONS))
    bias = 0.5 * mean + NOISE * random.normal(size=DIMENSIONS)
    return x.astype("float32"), (matrix, bias, mean + NOISE * random.normal(size=DIMENSIONS))


def model(objective, settings):
    """The VAE, with these weights."""
    matrix, bias, mean = settings
    posterior = keras_vae.layers.IndependentNormal(DIMENSIONS, scale=float(np.sqrt(2 / 3)), projection=False)
    likelihood = keras_vae.layers.IndependentNormal(DIMENSIONS, scale=1.0, projection=False)
    encoder = keras.Sequential([keras.layers.Dense(DIMENSIONS), posterior])
    vae = keras_vae.VAE(encoder, keras.Sequential([likelihood]), prior=LearnedMean(), objective=objective, seed=0)
    vae.build((None, DIMENSIONS))
    vae.encoder.set_weights([matrix, bias])
    vae.prior.set_weights([mean])
    return vae


def ratios(vae, x, repeats):
    """Of the gradients for b and for mu: |mean| over standard deviation, averaged over their elements."""
    variables = [vae.encoder.trainable_variables[1], *vae.prior.trainable_variables]

    @tf.function(jit_compile=True, autograph=False)
    def gradients(seed):
        with tf.GradientTape() as tape:
            terms = vae.objective(vae.forward_pass(x, seed, training=True))
            loss = tf.reduce_mean(terms["negative_bound"])
        return tape.gradient(loss, variables)

    found = [gradients(tf.constant([seed, 0])) for seed in range(repeats)]
    return [float(np.mean(np.abs(np.mean(each, axis=0)) / np.std(each, axis=0))) for each in zip(*found, strict=True)]


def table(rows, draws):
    lines = [
        "Signal-to-noise ratio of the IWAE bound's gradient, by S draws, for b of the encoder and mu of the prior.",
        "",
        "| gradient | of | " + " | ".join(f"S = {num:,}" for num in draws) + " |",
        "| --- | --- |" + " ---: |" * len(draws),
    ]
    for gradient in ("plain", "dreg"):
        for column, name in ((2, "b"), (3, "mu")):
            cells = [f"{row[column]:.3f}" for row in rows if row[0] == gradient]
            lines.append(f"| {gradient} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def check(rows):
    """Ends the script with an error unless each ratio goes with S where the theory says."""
    for gradient, column, grows in (("plain", 2, False), ("plain", 3, True), ("dreg", 2, True), ("dreg", 3, True)):
        found = [row[column] for row in rows if row[0] == gradient]
        if (found[-1] > found[0]) != grows:
            raise SystemExit(f"Expected the ratio of {gradient} to {'grow' if grows else 'fall'}; found {found}")


if __name__ == "__main__":
    main()
