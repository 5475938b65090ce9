"""Objectives for independent latents, on shapes whose factors are known: beta-VAE, FactorVAE, beta-TCVAE, DIP-VAE.

    python examples/disentangle.py             # no data needed; some 25 minutes on two cores
    python examples/disentangle.py --quick     # few images, few epochs: to see that all works

It needs `pip install "keras_vae[examples]"`. The images are those of shapes.py: 3 shapes, 5 sizes, 8 angles and 16 x 16
places, of 32 x 32 pixels. All models have one network, one seed, as many epochs. Killed at any time, the same command
goes on; with more `--epochs` it goes on, too. The folder `--out` takes the models, a table, and pictures: a row a
latent, by falling KL, in which this latent alone moves from -2 to 2.

What is minimised, where TC is the total correlation, KL(q(z) || prod_u q(z_u)), of q(z) = E_x[ q(z|x) ]:

    VAE            -ELBO                                                              arXiv 1312.6114
    beta-VAE       nll + beta KL(q(z|x) || p(z)),        beta = 2, 4                  Higgins et al., ICLR 2017
    FactorVAE      -ELBO + gamma TC,                     gamma = 35                   arXiv 1802.05983
    beta-TCVAE     -ELBO + (beta - 1) TC,                beta = 6                     arXiv 1802.04942
    DIP-VAE-II     -ELBO + lambda |Cov(z) - I|^2,        lambda = 10                  arXiv 1711.00848

The constants are the papers' for dSprites, and half the beta-VAE's. Those images have four times the pixels, and so
about four times the nll. Here each constant weighs the more. What else is smaller: networks, FactorVAE's discriminator
(6 layers of 250 units, not 1000), batches and runs. FactorVAE's two learning rates are equal, as in the paper.

What the papers claim, and `table.md` holds against the run:

- A beta-VAE disentangles better than a VAE, and reconstructs worse.
- FactorVAE, the beta-TCVAE and the DIP-VAE disentangle better than a beta-VAE that reconstructs as well. The one that
  is nearest by its nll is compared.

The claims are of many seeds and settings. A run is of one seed, and one setting each: it can agree or not, no more.
disentanglement.py says how disentanglement is measured, of all images: by the mutual information gap (MIG) and by
FactorVAE's score. The total correlation is estimated in one way for all models. nll, KL and ELBO are of 1,920 images
that were held out. A grey pixel's nll is its cross entropy, so that the best nll is not 0.
"""

import argparse
import math
import pathlib

import keras
import numpy as np
from disentanglement import aggregate, factor_score, gaps
from keras import layers
from mnist_run import ACTIVE_ABOVE, Run, check_arguments, markdown
from shapes import FACTORS, SIDE, draw_shapes

import keras_vae
from keras_vae import objectives

HIDDEN, LATENTS, BATCH, RATE = (512, 256), 10, 128, 1e-3
EPOCHS, QUICK_EPOCHS = 150, 2
HELD_OUT, QUICK_IMAGES = 1920, 4480  # images; the rest trains, in whole batches
DRAWS, QUICK_DRAWS = 2000, 100
REACH, COLUMNS = 2.0, 9  # of a traversal
ABREAST = 3  # panels of a picture
SHOWN = (1, 4, 2, 8, 8)  # the image that it starts from, by its factors
AS_WELL = 1.05  # times another's nll is as good as that
LEAST = 0.1  # of the information on a factor, for a latent to be called by it


def discriminator():
    """The paper's, but a quarter as wide."""
    hidden = [each for _ in range(6) for each in (layers.Dense(250), layers.LeakyReLU(0.2))]
    return keras.Sequential([*hidden, layers.Dense(2)])


BETA_VAES = ("beta_vae_2", "beta_vae_4")
OBJECTIVES = {
    "vae": ("VAE", lambda: objectives.ELBO()),
    "beta_vae_2": ("beta-VAE, beta = 2", lambda: objectives.ELBO(beta=2.0)),
    "beta_vae_4": ("beta-VAE, beta = 4", lambda: objectives.ELBO(beta=4.0)),
    "factor_vae": ("FactorVAE, gamma = 35", lambda: objectives.FactorVAE(gamma=35.0, discriminator=discriminator())),
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
        adam = keras.optimizers.Adam(RATE, beta_1=0.5, beta_2=0.9)  # as the paper has it, of the same rate
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
    pairs = [(name, "vae") for name in BETA_VAES if {name, "vae"} <= set(results)]
    references = [name for name in BETA_VAES if name in results]
    for name in ("factor_vae", "beta_tc", "dip_vae"):
        if name in results and references:
            nll = results[name]["nll"]
            pairs.append((name, min(references, key=lambda each: abs(results[each]["nll"] - nll))))
    return [claim(results, *pair) for pair in pairs]


def claim(results, name, other):
    first, second = (
        {"MIG": np.mean(result["gaps"]), "score": result["factor_score"], "nll": result["nll"]}
        for result in (results[name], results[other])
    )
    wins = sum(bool(first[measure] > second[measure]) for measure in ("MIG", "score"))
    verdict = ("not as claimed", "undecided, the measures disagree", "better by both")[wins]
    if other in BETA_VAES and first["nll"] > AS_WELL * second["nll"]:
        verdict += ", and it reconstructs worse, which makes it no fair comparison"
    elif other in BETA_VAES and second["nll"] > AS_WELL * first["nll"]:
        verdict += ", while it reconstructs better"
    figures = (f"{measure} {first[measure]:.2f} against {second[measure]:.2f}" for measure in first)
    return f"- {OBJECTIVES[name][0]}, against {OBJECTIVES[other][0]}: {', '.join(figures)}: {verdict}."


def draw(runs, images):
    """Traversals of one image: a panel a model, a row a latent, by falling KL, with the factor it knows most of."""
    from matplotlib.figure import Figure

    image = images[np.ravel_multi_index(SHOWN, tuple(FACTORS.values()))]
    rows, columns = math.ceil(len(runs) / ABREAST), min(len(runs), ABREAST)
    figure = Figure(figsize=(5.2 * columns, (0.4 * LATENTS + 1.0) * rows), layout="compressed")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    for axes, (name, run) in zip(panels, runs.items(), strict=False):
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
