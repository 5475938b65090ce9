"""Objectives for latents that are independent, on shapes whose factors are known: beta-VAE, FactorVAE, beta-TCVAE, DIP-VAE.

    python examples/disentangle.py             # no data needed; a quarter of an hour on two cores
    python examples/disentangle.py --quick     # few images, few epochs: to see that all works

It needs `pip install "keras_vae[examples]"`. The images are those of shapes.py: 3 shapes, 5 sizes, 8 angles and 16 x 16
places, 32 x 32 pixels. All models have one network, one seed, as many epochs. Killed at any time, the same command goes
on. The folder `--out` takes the models, a table, and for each model a picture: a row a latent, the most active first, in
which that latent alone moves from -2 to 2.

What is minimised, with means over the images, and KL(q(z) || prod_u q(z_u)) written TC, the total correlation:

    VAE            -ELBO                                                            arXiv 1312.6114
    beta-VAE       nll + beta KL(q(z|x) || p(z))                                    Higgins et al., ICLR 2017
    FactorVAE      -ELBO + gamma TC, the TC by a discriminator                      arXiv 1802.05983
    beta-TCVAE     -ELBO + (beta - 1) TC, the TC by the batch's own posteriors      arXiv 1802.04942
    DIP-VAE-II     -ELBO + lambda |Cov(z) - I|^2                                    arXiv 1711.00848

What the papers claim, and the table's last lines hold against this run:

- A beta-VAE disentangles better than a VAE, and reconstructs worse.
- FactorVAE, beta-TCVAE and DIP-VAE disentangle better than a beta-VAE that reconstructs as well.

A paper's claim is of many seeds and settings. One run is one seed and one setting each, and can do no more than agree.

Measured of all images, with posterior means mu(x):

- Total correlation: log q(z) - sum_u log q(z_u), a mean over draws z. Each density is exact, a mean over all posteriors.
- MIG, the mutual information gap: (I(z_u; v) - I(z_w; v)) / H(v) of the two latents that know most of a factor v, a mean
  over the five. Densities as above: section 4 of arXiv 1802.04942.
- FactorVAE's score, section 3 of arXiv 1802.05983. 100 images share the value of one factor. The latent whose mu varies
  least, relative to all images, votes. The score is how often the factor most voted for by that latent is the right one.
  Votes are counted on 800 sets, and scored on 800 others. A guess is right in 0.2.
"""

import argparse
import math
import pathlib

import keras
import numpy as np
from keras import layers
from mnist_run import ACTIVE_ABOVE, Run, check_arguments, markdown
from shapes import FACTORS, SIDE, draw_shapes

import keras_vae
from keras_vae import objectives

HIDDEN, LATENTS, BATCH, RATE = (512, 256), 10, 128, 1e-3
EPOCHS, QUICK_EPOCHS = 200, 2
HELD_OUT, QUICK_IMAGES = 1920, 4480  # images; the rest trains, in whole batches
DRAWS, QUICK_DRAWS, CHUNK = 2000, 100, 100
VOTES, VOTERS = 800, 100
REACH, COLUMNS = 2.0, 9  # of a traversal
SHOWN = (1, 4, 2, 8, 8)  # the image that it starts from, by its factors
LEAST = 0.1  # of the information on a factor, for a latent to be called by it


def discriminator():
    """The paper's six layers of leaky ReLUs, a quarter as wide, as the images have a quarter of the pixels."""
    hidden = [each for _ in range(6) for each in (layers.Dense(250), layers.LeakyReLU(0.2))]
    return keras.Sequential([*hidden, layers.Dense(2)])


# The papers' dSprites have 64 x 64 pixels, so that an nll is four times as large beside a KL.
OBJECTIVES = {
    "vae": ("VAE", lambda: objectives.ELBO()),
    "beta_vae": ("beta-VAE, beta = 4", lambda: objectives.ELBO(beta=4.0)),
    "factor_vae": ("FactorVAE, gamma = 10", lambda: objectives.FactorVAE(gamma=10.0, discriminator=discriminator())),
    "beta_tc": ("beta-TCVAE, beta = 6", lambda: objectives.BetaTC(beta=6.0)),
    "dip_vae": ("DIP-VAE-II, lambda = 10", lambda: objectives.DIPVAE(lambda_od=10.0, lambda_d=10.0, kind="II")),
}


def main(arguments=None):
    args = parse_arguments(arguments)
    images, factors = draw_shapes()
    order = np.random.default_rng(args.seed).permutation(len(images))[: QUICK_IMAGES if args.quick else None]
    held_out, train = images[order[:HELD_OUT]], images[order[HELD_OUT:]]
    runs = {name: begin(args, name, len(train)) for name in args.objectives}  # all, before the work begins
    print(f"{len(train):,} images of shapes to train on, {len(held_out):,} to score", flush=True)
    results = {}
    for name, run in runs.items():
        print(f"\n{OBJECTIVES[name][0]}", flush=True)
        run.train(args.epochs, lambda epoch: train, held_out)
        if not any(result["epochs"] == run.epochs for result in run.results):
            run.add_result(**score(run.vae, held_out, images[order], factors[order], args))
        results[name] = run.results[-1]
        draw({name: run}, images).savefig(args.out / f"{name}.png", dpi=100)
    text = table(results)
    (args.out / "table.md").write_text(text)
    draw(runs, images).savefig(args.out / "traversals.png", dpi=100)
    print(f"\n{text}\nWritten to {args.out}: table.md, traversals.png, and a picture of each")
    return results


def parse_arguments(arguments=None):
    """The command line; what could fail after training is tried before it."""
    parser = argparse.ArgumentParser(description="Train objectives for independent latents on shapes of known factors.")
    parser.add_argument("--objectives", choices=OBJECTIVES, nargs="+", default=list(OBJECTIVES), help="default: all")
    parser.add_argument("--epochs", type=int, help=f"in all; default: {EPOCHS}; {QUICK_EPOCHS} if quick")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default="disentangle", help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="few images and epochs: to see that all works")
    args = parser.parse_args(arguments)
    if args.epochs is None:
        args.epochs = QUICK_EPOCHS if args.quick else EPOCHS
    check_arguments(parser, args, epochs=1)
    args.objectives = [name for name in OBJECTIVES if name in args.objectives]
    return args


def begin(args, name, num_images):
    """The `Run` of an objective, as far as it has come."""
    settings = {"objective": OBJECTIVES[name][0], "seed": args.seed, "quick": args.quick}
    try:
        run = Run(args.out, name, settings, lambda: build(name, args.seed), BATCH, num_images)
    except ValueError as error:
        raise SystemExit(f"--out: {error}") from error
    if run.epochs > args.epochs:
        raise SystemExit(f"--epochs: expected at least {run.epochs}, as many as {run.model_file} has had")
    return run


def build(name, seed):
    """The untrained model, compiled. All have the same weights to begin with, but for FactorVAE's discriminator."""
    keras.utils.set_random_seed(seed)
    widths = [*HIDDEN, *reversed(HIDDEN)]
    hidden = [layers.Dense(width, "relu") for width in widths]
    posterior, likelihood = (
        keras_vae.layers.IndependentNormal(LATENTS),
        keras_vae.layers.IndependentBernoulli((SIDE, SIDE)),
    )
    encoder = keras.Sequential([layers.Flatten(), *hidden[: len(HIDDEN)], posterior])
    decoder = keras.Sequential([*hidden[len(HIDDEN) :], likelihood])
    encoder.build((None, SIDE, SIDE))
    decoder.build((None, LATENTS))
    vae = keras_vae.VAE(encoder, decoder, objective=OBJECTIVES[name][1](), seed=seed)
    optimizer = keras.optimizers.Adam(RATE)
    if isinstance(vae.objective, objectives.FactorVAE):
        adam = keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)  # the paper's, of the discriminator
        optimizer = keras_vae.optimizers.Routed(optimizer, {vae.objective: adam})
    vae.compile(optimizer)
    return vae


def score(vae, held_out, images, factors, args):
    """The bound of images that were held out; of all of them the measures of the latents."""
    bound = vae.evaluate(held_out, batch_size=500, verbose=0, return_dict=True)
    posterior = vae.encode(images)
    means, stddevs = (np.asarray(each, "float64") for each in (posterior.mean(), posterior.stddev()))
    activity = np.asarray(keras_vae.evaluation.activity(means))
    correlation, error, information = aggregate(means, stddevs, factors, QUICK_DRAWS if args.quick else DRAWS)
    return {
        **{term: float(bound[term]) for term in ("nll", "kl", "elbo")},
        "total_correlation": correlation,
        "standard_error": error,
        "active_units": int((activity > ACTIVE_ABOVE).sum()),
        "gaps": gaps(information).tolist(),
        "factor_score": factor_score(means, activity > ACTIVE_ABOVE, factors),
        "kl_of_units": np.mean(keras_vae.evaluation.unit_kl(means, stddevs, 0.0, 1.0), axis=0).tolist(),
        "information": information.tolist(),
    }


# What follows to the next line stands here until `keras_vae.evaluation` measures disentanglement.


def aggregate(means, stddevs, factors, num_draws):
    """The total correlation of q(z), its standard error, and I(z_u; v) / H(v), `[D, K]`, of latents and factors.

    Each z is drawn from the posterior of an image, and scored under those of all, and of all of one factor's value.

    Args:
        means, stddevs: of the Gaussian q(z_u|x_n), `[N, D]`.
        factors: integers from 0, `[N, K]`.
        num_draws: of z.
    """
    rng = np.random.default_rng(0)
    rows = rng.choice(len(means), num_draws, replace=num_draws > len(means))
    z = means[rows] + stddevs[rows] * rng.standard_normal((num_draws, means.shape[1]))
    one_hot = [np.eye(values.max() + 1)[values] for values in factors.T]
    averages = [each / each.sum(axis=0) for each in one_hot]  # [N, values]: over the images that have a value
    together, apart, told = [], [], []
    for start in range(0, num_draws, CHUNK):
        part = slice(start, start + CHUNK)
        log_joint, log_units, log_given = 0.0, 0.0, []
        for unit in range(means.shape[1]):
            deviation = (z[part, unit, None] - means[:, unit]) / stddevs[:, unit]
            log_density = -0.5 * (deviation**2 + math.log(math.tau)) - np.log(stddevs[:, unit])  # [draws, N]
            density = np.exp(log_density)
            log_unit = np.log(density.mean(axis=1))
            given = [(density @ average)[np.arange(len(rows[part])), factors[rows[part], factor]]
                     for factor, average in enumerate(averages)]  # fmt: skip
            log_given.append([np.log(each) - log_unit for each in given])
            log_joint, log_units = log_joint + log_density, log_units + log_unit
        most = log_joint.max(axis=1)
        together.append(most + np.log(np.exp(log_joint - most[:, None]).mean(axis=1)))
        apart.append(log_units)
        told.append(log_given)
    difference = np.concatenate(together) - np.concatenate(apart)
    information = np.concatenate(told, axis=2).mean(axis=2)
    shares = [each.mean(axis=0) for each in one_hot]
    entropies = [-np.sum(share * np.log(share)) for share in shares]
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(num_draws)), information / entropies


def gaps(information):
    """The mutual information gap of each factor, `[K]`, of I(z_u; v) / H(v), `[D, K]`."""
    ordered = np.sort(information, axis=0)
    return ordered[-1] - ordered[-2]


def factor_score(means, active, factors):
    """FactorVAE's score, of posterior means `[N, D]`, which of the latents are active `[D]`, and factors `[N, K]`."""
    if not active.any():
        return 0.0
    rng = np.random.default_rng(0)
    used = means[:, active] / means[:, active].std(axis=0)
    votes = np.zeros((2, used.shape[1], factors.shape[1]))  # to count, and to score
    for number in range(2 * VOTES):
        factor = rng.integers(factors.shape[1])
        same = np.flatnonzero(factors[:, factor] == rng.choice(factors[:, factor]))
        latent = used[rng.choice(same, VOTERS)].var(axis=0).argmin()
        votes[number % 2, latent, factor] += 1
    return float(votes[1][np.arange(used.shape[1]), votes[0].argmax(axis=1)].sum() / VOTES)


# ---------------------------------------------------------------------------------------------------------------------


def table(results):
    """The table, what each latent knows, and the papers' claims, as Markdown."""
    rows = [
        [
            OBJECTIVES[name][0],
            *(f"{result[term]:.2f}" for term in ("nll", "kl", "elbo")),
            f"{result['total_correlation']:.2f} ± {result['standard_error']:.2f}",
            result["active_units"],
            f"{np.mean(result['gaps']):.2f}",
            *(f"{gap:.2f}" for gap in result["gaps"]),
            f"{result['factor_score']:.2f}",
            result["epochs"],
            f"{result['minutes_of_training']:.1f}",
        ]
        for name, result in results.items()
    ]
    measures = ["nll", "KL", "ELBO", "total correlation", "active units", "MIG", *(f"of {name}" for name in FACTORS)]
    told = ["", "What the papers claim, and this run:", "", *claims(results)] if claims(results) else []
    head = ["objective", *measures, "FactorVAE's score", "epochs", "minutes of training"]
    return "\n".join([markdown(head, rows).rstrip("\n"), *told, ""])


def claims(results):
    """A line on each pair of which the papers claim that the first one disentangles better."""
    lines = []
    for name, other in (("beta_vae", "vae"), *((each, "beta_vae") for each in ("factor_vae", "beta_tc", "dip_vae"))):
        if not {name, other} <= set(results):
            continue
        first, second = results[name], results[other]
        mig, score = (
            [(np.mean(each["gaps"]), each["factor_score"])[measure] for each in (first, second)] for measure in (0, 1)
        )
        wins = int(mig[0] > mig[1]) + int(score[0] > score[1])
        verdict = ("not as claimed", "undecided: the measures disagree", "better by both")[wins]
        if wins == 2 and other == "beta_vae":
            as_well = first["nll"] <= second["nll"]
            verdict += (
                ", and reconstructs as well" if as_well else ", but reconstructs worse, which is no fair comparison"
            )
        lines.append(
            f"- {OBJECTIVES[name][0]}, against {OBJECTIVES[other][0]}: MIG {mig[0]:.2f} against {mig[1]:.2f}, score "
            f"{score[0]:.2f} against {score[1]:.2f}, nll {first['nll']:.1f} against {second['nll']:.1f}: {verdict}."
        )
    return lines


def draw(runs, images):
    """Traversals of one image: a panel a model, a row a latent, by falling KL, with the factor it knows most of."""
    from matplotlib.figure import Figure

    image = images[np.ravel_multi_index(SHOWN, tuple(FACTORS.values()))]
    figure = Figure(figsize=(5.2 * len(runs), 0.5 * LATENTS + 1.0), layout="constrained")
    for axes, (name, run) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        result = run.results[-1]
        order = np.argsort(result["kl_of_units"])[::-1]
        z = np.tile(np.asarray(run.vae.encode(image[None]).mean()), (LATENTS, COLUMNS, 1))
        for row, unit in enumerate(order):
            z[row, :, unit] = np.linspace(-REACH, REACH, COLUMNS)
        tiles = np.asarray(run.vae.decode(z.reshape(-1, LATENTS)).mean()).reshape(LATENTS, COLUMNS, SIDE, SIDE)
        tiles = np.pad(tiles, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=0.35)
        axes.imshow(tiles.swapaxes(1, 2).reshape(LATENTS * (SIDE + 2), -1), cmap="gray", vmin=0, vmax=1)
        information = np.asarray(result["information"])[order]
        labels = [
            f"{result['kl_of_units'][unit]:.1f} nats, {list(FACTORS)[known.argmax()]} {known.max():.2f}"
            if known.max() >= LEAST else f"{result['kl_of_units'][unit]:.1f} nats"
            for unit, known in zip(order, information, strict=True)
        ]  # fmt: skip
        axes.set_yticks((SIDE + 2) * (np.arange(LATENTS) + 0.5), labels, fontsize=8)
        axes.set_xticks((SIDE + 2) * (np.array([0, COLUMNS // 2, COLUMNS - 1]) + 0.5), [-REACH, 0, REACH], fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        gap, others = np.mean(result["gaps"]), result["factor_score"]
        axes.set_title(
            f"{OBJECTIVES[name][0]}\nnll {result['nll']:.1f}, MIG {gap:.2f}, score {others:.2f}", fontsize=10
        )
    return figure


if __name__ == "__main__":
    main()
