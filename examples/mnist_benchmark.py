"""The MNIST row that libraries publish: 784 - 400 ReLU - 40 latents, fixed zeros and ones, log p(x) of test images.

    python examples/mnist_benchmark.py --data-dir FOLDER                    # the ELBO, 500 epochs
    python examples/mnist_benchmark.py --data-dir FOLDER --objective iwae

FOLDER has mnist.npz; without --data-dir Keras downloads it. Needs `pip install "keras_vae[examples]"`. Killed at any
time, the same command goes on, and ends as a run that was never stopped. The folder `--out` takes the runs of all
objectives, and has a table of them, a figure and samples.

    784 - 400 ReLU - 40 latents - 400 ReLU - 784 Bernoulli

Adam begins with a learning rate of 1e-4, which epochs 200 and 350 of 500 multiply by 10^(-1/5); batches are of 100. The
weights of the epoch with the least loss on validation images are kept, and log p(x) of the 10,000 test images is
estimated with 200 draws of q(z|x). So pythae does it (Chadebec et al., arXiv 2206.08309). Its script and its page of
reproduced results are in github.com/clementchadebec/benchmark_VAE, examples/scripts/reproducibility.

What differs from pythae's script:

- The data. There they are "static" binarised MNIST (Larochelle & Murray, AISTATS 2011): a draw for each pixel, with its
  grey level as the probability of a one, made once and given away as files. Here they are another such draw, by a fixed
  seed. The split is the same: the first 50,000 images train, the last 10,000 validate, MNIST's test images test.
- Weights begin Glorot-uniform, biases at 0: Keras's defaults for PyTorch's.
- The published IWAE has another network and schedule, those of `iwae.py`, and 5,000 draws. Here all that is changed is
  the objective.
"""

import keras
import numpy as np
from keras import layers
from mnist_data import FIXED, binarised, load_mnist
from mnist_run import Run, check_arguments, markdown, parser_of, records_of, score

import keras_vae
from keras_vae import objectives

# What is minimised, by name. One of your own is a line here.
OBJECTIVES = {
    "elbo": lambda: objectives.ELBO(),
    "elbo_draws": lambda: objectives.ELBO(kl="draws"),
    "stl": lambda: objectives.ELBO(gradient="stl"),
    "iwae": lambda: objectives.IWAE(num_samples=50),
    "dreg": lambda: objectives.IWAE(num_samples=50, gradient="dreg"),
    "miwae": lambda: objectives.MIWAE(num_bounds=8, num_samples=64),
    "ciwae": lambda: objectives.CIWAE(beta=0.05, num_samples=64),
    "renyi": lambda: objectives.RenyiBound(alpha=0.5, num_samples=50),
}
HIDDEN, LATENTS, BATCH = 400, 40, 100
EPOCHS, MILESTONES, RATE, FACTOR = 500, (200, 350), 1e-4, 10 ** (-1 / 5)
VALIDATION, SAMPLES = 10_000, 200
QUICK = {"epochs": 3, "num_samples": 20}
# On pythae's page: what it obtained, and the paper's figure that it names beside.
PUBLISHED = {"elbo": (89.78, 89.9), "iwae": (86.82, 87.1)}
SHOWN = 8  # samples, a row and a column


def main(arguments=None):
    args = parse_arguments(arguments)
    grey = load_mnist(args.data_dir, VALIDATION, args.quick)
    train, validation, test = (binarised(images, FIXED, part) for part, images in enumerate(grey))
    run = begin(args, len(train))
    print(f"{args.objective}: {len(train):,} images to train on, {len(test):,} to test on", flush=True)
    run.train(args.epochs, lambda epoch: train, validation, keep_best=True)
    vae, epoch = run.best()
    if run.epochs > max((result["epochs"] for result in run.results), default=0):
        run.add_result(best_epoch=epoch, **score(vae, test, args.num_samples))
    draw_samples(vae).savefig(args.out / f"samples_{args.objective}.png", dpi=80)
    print(f"\n{table(records_of(args.out, OBJECTIVES))}\nWritten to {args.out}:", *write(args.out), sep="\n")
    return run


def parse_arguments(arguments=None):
    parser = parser_of("Train the VAE on MNIST that other libraries publish the test NLL of.", "mnist_benchmark")
    parser.add_argument("--objective", choices=OBJECTIVES, default="elbo", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help=f"how many; default: {EPOCHS}")
    parser.add_argument("--num-samples", type=int, help=f"for the test NLL; default: {SAMPLES}")
    args = parser.parse_args(arguments)
    for name, usual in {"epochs": EPOCHS, "num_samples": SAMPLES}.items():
        if getattr(args, name) is None:
            setattr(args, name, QUICK[name] if args.quick else usual)
    check_arguments(parser, args, epochs=1, num_samples=1)
    return args


def begin(args, num_images):
    """The `Run` as far as it has come."""
    settings = {name: getattr(args, name) for name in ("objective", "seed", "quick")}
    try:
        return Run(
            args.out, args.objective, settings, lambda: build(args.objective, args.seed, num_images), BATCH, num_images
        )
    except ValueError as error:
        raise SystemExit(f"--out: {error}") from error


def build(objective, seed, num_images):
    """The model, untrained; its learning rate falls by the count of epochs of so many images."""
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential(
        [layers.Flatten(), layers.Dense(HIDDEN, "relu"), keras_vae.layers.IndependentNormal(LATENTS)]
    )
    decoder = keras.Sequential([layers.Dense(HIDDEN, "relu"), keras_vae.layers.IndependentBernoulli((28, 28))])
    vae = keras_vae.VAE(encoder, decoder, objective=OBJECTIVES[objective](), seed=seed)
    vae.compile(keras.optimizers.Adam(schedule(num_images // BATCH), epsilon=1e-8))
    return vae


def schedule(steps):
    """The learning rate by the optimizer's count of steps, `steps` an epoch."""
    rates = [RATE * FACTOR**power for power in range(len(MILESTONES) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay([epoch * steps - 1 for epoch in MILESTONES], rates)


def write(folder):
    """Writes the table and the figure of all runs in a folder; returns the files that are to look at."""
    records = records_of(folder, OBJECTIVES)
    (folder / "table.md").write_text(table(records))
    draw(records).savefig(folder / "curve.png", dpi=110)
    return sorted(path for path in folder.iterdir() if path.suffix in (".md", ".png", ".csv", ".json"))


def table(records):
    """A row for each result of each run."""
    headings = ["objective", "epochs", "best epoch", "samples", "test NLL", "pythae's", "published", "ELBO", "KL"]
    rows = []
    for record in records:
        for result in record["results"]:
            name = record["settings"]["objective"]
            rows.append([f"`{name}`", result["epochs"], result["best_epoch"], f"{result['num_samples']:,}"])
            rows[-1] += [f"{result['nll']:.2f} ± {result['standard_error']:.2f}", *PUBLISHED.get(name, ("", ""))]
            rows[-1] += [f"{result['elbo']:.2f}", f"{result['kl']:.2f}", result["active_units"]]
            rows[-1] += [f"{result['minutes_of_training']:.0f}"]
    headings += ["active units", "minutes of training"]
    return f"Nats an image, of test images; ± the standard error over images.\n\n{markdown(headings, rows)}"


def draw(records):
    """The losses of training and of validation by epochs, a colour an objective, and the test NLL at the best epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, record in enumerate(records):
        color, name = f"C{number}", record["settings"]["objective"]
        epochs = [row["epoch"] for row in record["curve"]]
        for loss, style in (("loss", ":"), ("val_loss", "-")):
            axes.plot(epochs, [row[loss] for row in record["curve"]], f"{color}{style}", linewidth=1)
        results = record["results"]
        axes.plot([each["best_epoch"] for each in results], [each["nll"] for each in results], f"{color}o", label=name)
        if name in PUBLISHED:
            axes.plot(EPOCHS, PUBLISHED[name][0], f"{color}*", markersize=11)
    for style, label in (("k:", "loss, training"), ("k-", "loss, validation"), ("ko", "test NLL"), ("k*", "pythae's")):
        axes.plot([], [], style, label=label)
    lowest = min(result["nll"] for record in records for result in record["results"])
    axes.set(ylim=(min(lowest, 85) - 5, lowest + 50), xlabel="epochs", ylabel="nats an image")
    axes.set(title="MNIST, in fixed zeros and ones")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_samples(vae):
    """Means of p(x|z) at draws of z from the prior."""
    from matplotlib.figure import Figure

    images = np.asarray(vae.generate(SHOWN**2, seed=FIXED)).reshape(SHOWN, SHOWN, 28, 28)
    figure = Figure(figsize=(4, 4), layout="tight")
    axes = figure.subplots()
    axes.imshow(images.swapaxes(1, 2).reshape(SHOWN * 28, SHOWN * 28), cmap="gray_r", vmin=0, vmax=1)
    axes.axis("off")
    return figure


if __name__ == "__main__":
    main()
