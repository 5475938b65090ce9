"""Why does maximising log N(x; mu, sigma^2 I) minimise the MSE? Line by line, each line checked by number.

    python examples/mse_is_gaussian_nll.py

It needs `pip install "keras_vae[examples]"`, and takes about a minute. First the derivation, on an image of
scikit-learn's digits, against scipy in float64: also the line that people get wrong. Then the claim itself: two VAEs,
one trained on squared errors and one on the likelihood, have the same weights after the same steps. Last, what learning
sigma changes. A check that fails raises. The figure goes to the folder `--out`.
"""

import argparse
import math
import pathlib

import keras
import numpy as np
from keras import layers, ops

import keras_vae

DERIVATION = {
    "1": "log N(x; mu, S) = -D/2 log(2 pi) - 1/2 log|S| - 1/2 (x - mu)' S^-1 (x - mu)    [scipy's density]",
    "2": "S = diag(sigma_i^2): log|S| = log prod_i sigma_i^2 = sum_i log sigma_i^2    [log of the product]",
    "2'": "WRONG: log prod_i sigma_i^2 = sum_i sigma_i^2. Too large by D + sum_i (sigma_i^2 - 1 - log sigma_i^2)",
    "3": "(x - mu)' S^-1 (x - mu) = sum_i (x_i - mu_i)^2 / sigma_i^2    [a linear solve]",
    "4": "log N = -D/2 log(2 pi) - sum_i log sigma_i - sum_i (x_i - mu_i)^2 / (2 sigma_i^2)    [scipy, pixel by pixel]",
    "4b": "-log N is keras_vae.ops.gaussian_nll    [scipy, pixel by pixel]",
    "5": "one sigma: log N = -D/2 log(2 pi) - D log sigma - SSE / (2 sigma^2)    [scipy's density]",
    "6": "sigma fixed: d(-log N)/dmu = dSSE/dmu / (2 sigma^2); here its length    [scipy, finite differences]",
    "6b": "so both have the same best mu. Among the multiples a mu, a = x'mu / mu'mu    [scipy, a search]",
    "7": "SSE = D MSE: to maximise log N is to minimise the MSE    [scikit-learn's MSE]",
    "8": "sigma free: d(-log N)/dsigma = D/sigma - SSE/sigma^3 = 0, so sigma = MSE^(1/2)    [scipy, a search]",
    "8b": "and there -log N = D/2 log(2 pi e MSE)    [scipy, the same search]",
    "8c": "so a trained VAE's learned sigma is the RMS error of its draws of z    [that error]",
    "8'": "WRONG, after 2': D sigma - SSE/sigma^3 = 0, so sigma = MSE^(1/4), the root of the right one    [a search]",
}
PIXELS, LATENTS, HIDDEN, BATCH = 64, 8, 64, 50
# Of the runs whose weights are compared: powers of two, since Keras rounds a learning rate to float32.
SIGMA, RATE = 8**-0.5, 2.0**-9
EPSILON = 1e-7  # Keras's default for Adam


def main(arguments=None):
    """Prints the account, draws the figure, and returns the numbers by name."""
    args = parse_arguments(arguments)
    x = load_digits(args.seed)
    train, test = x[:1500], x[1500:]
    found = derivation(train)
    found["gaps"] = same_weights(train, args.steps, args.seed)
    found["rows"] = learned_sigma(train, test, args.epochs, args.seed)
    path = args.out / "mse_is_gaussian_nll.png"
    draw(found).savefig(path, dpi=120)
    print(f"\nAll checks passed. The figure: {path}")
    return found


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Check line by line that a Gaussian likelihood is the squared error.")
    parser.add_argument("--out", type=pathlib.Path, default="mse_is_gaussian_nll", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=200, help="after which weights are compared; default: %(default)s")
    parser.add_argument("--epochs", type=int, default=60, help="enough for sigma to settle; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    args = parser.parse_args(arguments)
    for name, least in (("steps", 1), ("epochs", 1), ("seed", 0)):
        if not least <= getattr(args, name) < 2**31:
            parser.error(f"--{name}: expected an integer from {least} to 2**31 - 1; received: {getattr(args, name)}")
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def load_digits(seed):
    """1,797 images of 8x8 pixels from 0 to 1, `[N, 64]` float64, in an order of the seed's."""
    import sklearn.datasets

    return np.random.default_rng(seed).permutation(sklearn.datasets.load_digits().data / 16)


def check(line, referee, ours, tolerance=1e-12):
    """Prints a line and both its sides; raises if they differ by more than `tolerance`, relative where above 1."""
    print(f"  {line:<3} {DERIVATION[line]}")
    print(f"        {referee:.14g}  against  {ours:.14g}: differ by {abs(referee - ours):.1e}")
    require(line, referee, ours, tolerance)


def require(line, referee, ours, tolerance):
    if not abs(referee - ours) <= tolerance * max(1.0, abs(referee)):  # so put, NaN fails
        raise ArithmeticError(f"{line}: expected {referee!r}; received {ours!r}; tolerance {tolerance}")


def derivation(train):
    """From the density to the MSE, for one image x, with the mean image for mu."""
    from scipy.optimize import approx_fprime, minimize_scalar
    from scipy.stats import multivariate_normal, norm
    from sklearn.metrics import mean_squared_error

    x, mu, d = train[0], train.mean(0), PIXELS
    sigmas = np.maximum(train.std(0), 0.05)  # one for each pixel; some pixels never vary
    variances, errors = sigmas**2, (x - mu) ** 2
    sse, mse, constant = errors.sum(), errors.mean(), -d / 2 * math.log(2 * math.pi)
    print(f"The derivation, for one image of D = {d} pixels: the referee's number [in brackets] against the line's\n")

    covariance = np.diag(variances)
    form = (x - mu) @ np.linalg.solve(covariance, x - mu)
    whole = constant - np.linalg.slogdet(covariance)[1] / 2 - form / 2
    check("1", multivariate_normal(mu, covariance).logpdf(x), whole)
    logs = np.log(variances).sum()
    check("2", math.log(math.prod(variances)), logs)
    # t - 1 - log t >= 0, and 0 at t = 1 alone: whatever the sigmas, the slip adds at least D.
    slip = variances.sum() - logs
    check("2'", slip, d + np.sum(variances - 1 - np.log(variances)))
    print(f"        The sum of the variances is {variances.sum():.2f}, the log of their product {logs:.2f}. The NLL is")
    print(
        f"        off by half the difference, {slip / 2:.2f} nats; by D/2 = {d / 2:g} if all sigmas are 1, its least."
    )
    check("3", form, np.sum(errors / variances))
    by_pixel = norm.logpdf(x, mu, sigmas).sum()
    check("4", by_pixel, constant - np.log(sigmas).sum() - np.sum(errors / (2 * variances)))
    check("4b", -by_pixel, float(keras_vae.ops.gaussian_nll(x, mu, np.log(variances))))
    check("5", multivariate_normal(mu, SIGMA**2).logpdf(x), constant - d * math.log(SIGMA) - sse / (2 * SIGMA**2))

    def nll(mean, sigma=SIGMA):
        return -norm.logpdf(x, mean, sigma).sum()

    slope = np.linalg.norm(approx_fprime(mu, nll, 1e-7))
    check("6", slope, np.linalg.norm(2 * (mu - x)) / (2 * SIGMA**2), 1e-5)
    check("6b", minimize_scalar(lambda a: nll(a * mu), (0, 1)).x, x @ mu / (mu @ mu), 1e-6)
    check("7", d * mean_squared_error(x, mu), sse)
    # Searched by log sigma, in which each has a single minimum.
    right = minimize_scalar(lambda t: nll(mu, math.exp(t)), (-2, 0))
    wrong = minimize_scalar(lambda t: d * math.exp(2 * t) / 2 + sse / (2 * math.exp(2 * t)), (-2, 0))
    check("8", math.exp(right.x), math.sqrt(mse), 1e-6)
    check("8b", right.fun, d / 2 * math.log(2 * math.pi * math.e * mse))
    check("8'", math.exp(wrong.x), mse**0.25, 1e-6)
    return {"rms": math.sqrt(mse), "sigma": math.exp(right.x), "wrong_sigma": math.exp(wrong.x), "slip": slip}


class PlainVAE(keras.Model):
    """A VAE as it is usually written, squared error + KL weight * KL. The noise is keras_vae's, to have the same."""

    def __init__(self, reduction, kl_weight, seed):
        super().__init__(dtype="float64")
        self.encoder, self.decoder = (keras.Sequential(part) for part in networks(seed, "float64"))
        self.encoder.build((None, PIXELS))
        self.decoder.build((None, LATENTS))
        self.reduction, self.kl_weight = reduction, kl_weight
        self.seeds = keras.random.SeedGenerator(seed)
        self.standard_normal = keras_vae.priors.StandardNormal(LATENTS, dtype="float64")

    def call(self, x):
        mean, log_variance = ops.split(self.encoder(x), 2, axis=-1)
        noise = self.standard_normal().sample(ops.shape(x)[0], seed=ops.cast(self.seeds.next(), "int32"))
        reconstruction = self.decoder(mean + ops.exp(0.5 * log_variance) * noise)
        error = self.reduction(ops.square(x - reconstruction), axis=-1)
        kl = 0.5 * ops.sum(ops.exp(log_variance) + ops.square(mean) - 1 - log_variance, axis=-1)
        self.add_loss(ops.mean(error + self.kl_weight * kl))
        return reconstruction


def networks(seed, dtype):
    """The layers of encoder and decoder: the same initial weights for the same seed."""
    keras.utils.set_random_seed(seed)
    sizes = (2 * LATENTS, PIXELS)
    return [[layers.Dense(HIDDEN, "tanh", dtype=dtype), layers.Dense(size, dtype=dtype)] for size in sizes]


def likelihood_vae(sigma, seed, beta=1.0, dtype="float64"):
    """The same networks, with a distribution at the end of each."""
    (encoder, decoder), normal = networks(seed, dtype), keras_vae.layers.IndependentNormal
    # The plain posterior has no floor; this one is below what float64 can tell from none.
    floorless = keras_vae.scales.PerElement(floor=1e-12, dtype=dtype)
    encoder = keras.Sequential([*encoder, normal(LATENTS, scale=floorless, projection=False, dtype=dtype)])
    decoder = keras.Sequential([*decoder, normal(PIXELS, scale=sigma, projection=False, dtype=dtype)])
    return keras_vae.VAE(encoder, decoder, objective=keras_vae.objectives.ELBO(beta), seed=seed, dtype=dtype)


class Trace(keras.callbacks.Callback):
    """All weights, before training and after each step: `rows`, `[steps + 1, weights]`."""

    def on_train_begin(self, logs=None):
        self.rows = []
        self.on_train_batch_end(-1)

    def on_train_batch_end(self, batch, logs=None):
        self.rows.append(np.concatenate([np.ravel(variable) for variable in self.model.trainable_variables]))


def train_on(x, model, optimizer):
    """Takes a step for each batch of x, in order; returns the weights on the way."""
    trace = Trace()
    model.compile(optimizer, jit_compile=False)  # for a few hundred small steps, compiling costs more than it saves
    model.fit(x, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[trace])
    return np.array(trace.rows)


def same_weights(train, steps, seed):
    """The exchange rates, by training: how far any weight is from the likelihood's, `{name: [steps + 1]}`."""
    from keras.optimizers import SGD, Adam

    x = train[np.arange(steps * BATCH) % len(train)]
    c_sum, c_mean = 2 * SIGMA**2, 2 * SIGMA**2 / PIXELS
    print(f"""
The same weights, after {steps} steps in float64: the same start, batches and noise

  -ELBO = SSE / (2 sigma^2) + KL + constant, and that times
      c = 2 sigma^2      is SSE + c KL, with the sum over pixels:   c = {c_sum:g} for sigma^2 = {SIGMA**2:g};
      c = 2 sigma^2 / D  is MSE + c KL, with the mean over pixels:  c = {c_mean:g}, since D = {PIXELS}.
  For the loss times c, SGD's rate is divided by c; Adam's rate stays, and its epsilon is multiplied by c.
""")
    likelihood = f"likelihood, sigma = {SIGMA:.3f}"
    runs = {
        "SGD": [
            (likelihood, likelihood_vae(SIGMA, seed), SGD(RATE)),
            ("SSE + 2 sigma^2 KL", PlainVAE(ops.sum, c_sum, seed), SGD(RATE / c_sum)),
            ("MSE + 2 sigma^2 / D KL", PlainVAE(ops.mean, c_mean, seed), SGD(RATE / c_mean)),
            # A beta is a sigma too: SSE / (2 s^2) + beta KL is beta times the loss for the sigma s sqrt(beta).
            ("likelihood, sigma / 2, beta = 4", likelihood_vae(SIGMA / 2, seed, beta=4.0), SGD(RATE / 4)),
        ],
        "Adam": [
            (likelihood, likelihood_vae(SIGMA, seed), Adam(RATE, epsilon=EPSILON)),
            ("MSE + 2 sigma^2 / D KL", PlainVAE(ops.mean, c_mean, seed), Adam(RATE, epsilon=EPSILON * c_mean)),
            ("the same, epsilon as it was", PlainVAE(ops.mean, c_mean, seed), Adam(RATE, epsilon=EPSILON)),
            ("MSE + KL, as often seen", PlainVAE(ops.mean, 1.0, seed), Adam(RATE, epsilon=EPSILON)),
        ],
    }
    differ = ("the same, epsilon as it was", "MSE + KL, as often seen")
    gaps = {}
    for rule, ((name, *reference), *others) in runs.items():
        reference = train_on(x, *reference)
        moved = np.abs(reference[-1] - reference[0]).max()
        print(f"  {rule}, {name}: weights move by up to {moved:.3f}. Largest difference of a weight from it:")
        for name, *other in others:
            gap = gaps[f"{rule}: {name}"] = np.abs(train_on(x, *other) - reference).max(1)
            print(f"      {name:<32} {gap[-1]:.1e}")
            require(f"{rule}, {name}: differences", 0.0, gap[0] if name in differ else gap.max(), 1e-12)
    print(f"""
  Not scaled, Adam's epsilon is no longer small beside the gradients of pixels that are almost always blank.
  MSE + KL has c = 1: the likelihood of sigma = sqrt(D/2) = {math.sqrt(PIXELS / 2):.2f}, for pixels from 0 to 1.""")
    return gaps


def learned_sigma(train, test, epochs, seed):
    """One VAE learns sigma, others are given one: their scores, with the error of draws of z, as the likelihood's."""
    x = np.concatenate([train, test]).astype("float32")
    is_train = np.arange(len(x)) < len(train)

    def closed_form(sse, sigma):
        return PIXELS / 2 * math.log(2 * math.pi * sigma**2) + sse / (2 * sigma**2)

    def fit(sigma):
        vae = likelihood_vae(sigma, seed, dtype="float32")
        rate = keras.optimizers.schedules.CosineDecay(1e-2, epochs * math.ceil(len(train) / BATCH), alpha=0.05)
        vae.compile(keras.optimizers.Adam(rate))
        vae.fit(x[is_train], batch_size=BATCH, epochs=epochs, verbose=0)
        sigma, posterior = float(vae.decoder.layers[-1].scale.value()), vae.encode(x)
        likelihood = vae.decode(posterior.sample(8, seed=[seed, 0]))
        sse = ((x - np.asarray(likelihood.mean(), "float64")) ** 2).sum(-1).mean(0)
        nll, kl = -np.mean(likelihood.log_prob(x), 0), np.asarray(posterior.kl_divergence(vae.prior()))
        require(f"5, for the VAE with sigma = {sigma:.3f}", closed_form(sse.mean(), sigma), float(nll.mean()), 1e-4)
        rms = math.sqrt(sse[is_train].mean() / PIXELS)
        nll, kl, sse = (float(term[~is_train].mean()) for term in (nll, kl, sse))
        mended = -closed_form(sse, rms) - kl  # the same weights, with sigma set to the error in training
        return {"sigma": sigma, "rms": rms, "nll": nll, "kl": kl, "elbo": -nll - kl, "mended": mended}

    # It starts at the error of a decoder that knows the mean image alone.
    learned = fit(keras_vae.scales.Shared(initial=float(np.sqrt(train.var(0).mean()))))
    rows = {"learned": learned, **{sigma: fit(sigma) for sigma in (1.0, 0.3, round(learned["sigma"], 3), 0.1)}}
    largest = np.linalg.eigvalsh(np.cov(train.T))[-1]
    print(f"\nWhat learning sigma changes, after {epochs} epochs: nats per image, on {len(test)} test images\n")
    print("  sigma             KL weight (MSE)   RMS error       NLL      KL      ELBO   ELBO with sigma := RMS error")
    for name, row in rows.items():
        label = f"{row['sigma']:.3f}, " + ("learned" if name == "learned" else "fixed")
        scores = "".join(f"{row[name]:{width}.2f}" for name, width in [("nll", 10), ("kl", 8), ("elbo", 10)])
        print(f"  {label:<18}{2 * row['sigma'] ** 2 / PIXELS:15.5f}{row['rms']:12.4f}{scores}{row['mended']:17.2f}")
    print(f"""
  sigma = 1 pays for no latent: the largest variance of the digits in any direction is {largest:.2f}, less than sigma^2.
  sigma = 0.1 claims a precision that the decoder lacks. Setting sigma right afterwards mends the score, but not the
  weights. Learned, sigma is right while the weights are trained, and there is no KL weight to search for.
""")
    check("8c", learned["rms"], learned["sigma"], 0.03 * learned["rms"])
    for sigma in (1.0, 0.3, 0.1):
        if not learned["elbo"] > rows[sigma]["elbo"]:
            raise ArithmeticError(f"ELBO: expected more than with sigma = {sigma} if it is learned; received {rows}")
    return rows


def draw(found):
    """The NLL by sigma, the differences of weights by step, and the ELBO by sigma."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)

    s = np.geomspace(0.1, 1, 200)
    nll = PIXELS * (math.log(2 * math.pi) + found["rms"] ** 2 / s**2) / 2  # but for the middle term
    for color, label, middle_term, best in [
        ("C0", "right, with D log sigma", PIXELS * np.log(s), found["sigma"]),
        ("C1", "wrong, with D sigma^2 / 2", PIXELS * s**2 / 2, found["wrong_sigma"]),
    ]:
        left.plot(s, nll + middle_term, color, label=f"{label}: best at {best:.3f}")
        left.plot(best, np.interp(best, s, nll + middle_term), "o", color=color)
    left.axvline(found["rms"], color="gray", linestyle=":", label=f"RMS error, {found['rms']:.3f}")
    left.set(title="NLL of an image: what keeps sigma honest", xlabel="sigma", ylabel="nats", ylim=(-20, 240))

    for (name, gap), style in zip(found["gaps"].items(), ["-", "--", ":", "-", "-", "-"], strict=True):
        middle.plot(np.maximum(gap, 1e-17), style, label=name)  # zero, on a logarithmic axis
    middle.set(title="Weights: largest difference from the likelihood's", xlabel="step", yscale="log", ylim=(3e-18, 10))

    fixed = sorted((row for name, row in found["rows"].items() if name != "learned"), key=lambda row: row["sigma"])
    sigmas = [row["sigma"] for row in fixed]
    right.plot(sigmas, [row["elbo"] for row in fixed], "o-", label="fixed")
    right.plot(sigmas, [row["mended"] for row in fixed], "o:", label="fixed, then set to the RMS error")
    learned = found["rows"]["learned"]
    right.plot(learned["sigma"], learned["elbo"], "*", markersize=16, label=f"learned: {learned['sigma']:.3f}")
    right.set(title="ELBO of test images", xlabel="sigma in training", ylabel="nats per image", xscale="log")
    right.set_xticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"], minor=False)
    right.minorticks_off()
    for axes, place in ((left, "upper right"), (middle, "center right"), (right, "lower left")):
        axes.grid(alpha=0.3)
        axes.legend(loc=place)
    return figure


if __name__ == "__main__":
    main()
