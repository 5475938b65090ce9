"""Table 1 of "Importance Weighted Autoencoders" (Burda, Grosse & Salakhutdinov, arXiv 1509.00519): MNIST, one layer.

    python examples/iwae.py --data-dir FOLDER                              # VAE, k = 1, all eight stages
    python examples/iwae.py --data-dir FOLDER --objective iwae --k 50 --stages 5
    python examples/iwae.py --data-dir FOLDER --objective iwae --k 50      # goes on from there, to the end

FOLDER has mnist.npz; without --data-dir Keras downloads it. Needs `pip install "keras_vae[examples]"`. Killed at any
time, the same command goes on, and ends as a run that was never stopped. The folder `--out` takes all runs, and has a
table of them and a figure. After stage i the model is kept there, as vae_1_stage_<i>.keras. Copied over vae_1.keras, it
is where the command goes on from: so a stage can be run again.

    784 - 200 tanh - 200 tanh - 50 latents - 200 tanh - 200 tanh - 784 Bernoulli

k draws z_1 ... z_k of q(z|x) give weights w_i = p(x, z_i) / q(z_i|x). What is maximised is

    VAE:   1/k sum_i log w_i          IWAE:   log( 1/k sum_i w_i )          (equation 8; for k = 1 they are the same)

by Adam (beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-4), with batches of 20, in stages i = 0 to 7: 3^i epochs at a
learning rate of 0.001 x 10^(-i/7), 3,280 epochs in all. Weights begin Glorot-uniform; the biases of the pixels at the
log-odds of their training means, which are kept within 0.001 and 0.999. Of MNIST's 60,000 training images the last 400
are left out, to validate. Each image is binarised anew whenever it is met: a pixel is 1 with the probability that its
grey level is. After each stage log p(x) of the 10,000 test images is estimated with 5,000 draws. A latent counts as
active if the variance over x of E[z|x] is above 0.01.

What differs from the authors' own code, github.com/yburda/iwae, which in turn differs from their text:

- The text is followed where it says something. The code has beta_1 = 0.99, begins Adam's second moments at 1 and
  rounds learning rates, to 7.2e-4 for instance.
- A batch's gradient is its mean, and not its sum. To Adam that makes a difference by way of epsilon alone.
- Images are shuffled in each epoch. The code takes them in MNIST's order.
- Test and validation images are binarised once, by a fixed seed, for all runs alike.
- Active units are of the test images. The code takes 500 training images.
"""

import itertools
import shutil

import keras
import numpy as np
from keras import layers
from mnist_data import FIXED, binarised, load_mnist
from mnist_run import Run, check_arguments, markdown, parser_of, records_of, score

import keras_vae
from keras_vae import objectives

OBJECTIVES = {
    "vae": lambda k: objectives.ELBO(num_samples=k, kl="draws"),
    "iwae": lambda k: objectives.IWAE(num_samples=k),
}
HIDDEN, LATENTS, BATCH = 200, 50, 20
STAGES, VALIDATION, SAMPLES = 8, 400, 5000
QUICK = {"stages": 2, "num_samples": 20}
# Test NLL in table 1, after all stages; active units as remembered.
PAPER = {
    ("vae", 1): (86.76, 19), ("vae", 5): (86.47, 20), ("vae", 50): (86.35, 20),
    ("iwae", 1): (86.76, 19), ("iwae", 5): (85.54, 22), ("iwae", 50): (84.78, 25),
}  # fmt: skip


def main(arguments=None):
    args = parse_arguments(arguments)
    train, validation, test = load_mnist(args.data_dir, VALIDATION, args.quick)
    validation, test = binarised(validation, FIXED, 1), binarised(test, FIXED, 2)
    run = begin(args, train)
    print(f"{args.objective}, k = {args.k}: {len(train):,} images to train on, {len(test):,} to test on", flush=True)
    for stage, end in enumerate(ends(args.stages)):
        if end <= max((result["epochs"] for result in run.results), default=0):
            continue
        print(f"\nStage {stage}, {3**stage:,} epochs at a learning rate of {rate(stage):.2e}", flush=True)
        run.train(end, lambda epoch: binarised(train, args.seed, epoch), validation)
        shutil.copy(run.model_file, run.model_file.with_stem(f"{run.model_file.stem}_stage_{stage}"))
        run.add_result(stage=stage, learning_rate=rate(stage), **score(run.vae, test, args.num_samples))
        print(f"  test NLL {run.results[-1]['nll']:.2f} ± {run.results[-1]['standard_error']:.2f}")
        write(args.out)
    print(f"\n{table(records_of(args.out, OBJECTIVES))}\nWritten:", *write(args.out), sep="\n")
    return run


def parse_arguments(arguments=None):
    parser = parser_of(
        "Train one of the seven models of the IWAE paper's table 1, MNIST, one stochastic layer.", "iwae"
    )
    parser.add_argument("--objective", choices=OBJECTIVES, default="vae", help="default: %(default)s")
    parser.add_argument("--k", type=int, default=1, help="draws of z an image; the paper's: 1, 5, 50; default: 1")
    parser.add_argument(
        "--stages", type=int, help=f"how far; default: {STAGES}, the paper's; {QUICK['stages']} if quick"
    )
    parser.add_argument("--num-samples", type=int, help=f"for the test NLL; default: {SAMPLES:,}")
    args = parser.parse_args(arguments)
    for name, usual in {"stages": STAGES, "num_samples": SAMPLES}.items():
        if getattr(args, name) is None:
            setattr(args, name, QUICK[name] if args.quick else usual)
    if args.stages > STAGES:
        parser.error(f"--stages: expected at most {STAGES}; received: {args.stages}")
    check_arguments(parser, args, k=1, stages=1, num_samples=1)
    return args


def begin(args, train):
    """The `Run` as far as it has come."""
    settings = {name: getattr(args, name) for name in ("objective", "k", "seed", "quick")}
    name = f"{args.objective}_{args.k}"
    try:
        return Run(args.out, name, settings, lambda: build(args.objective, args.k, args.seed, train), BATCH, len(train))
    except ValueError as error:
        raise SystemExit(f"--out: {error}") from error


def build(objective, k, seed, train):
    """The paper's model, untrained; of `train`, grey images, it takes the pixels' means, and how long an epoch is."""
    keras.utils.set_random_seed(seed)

    def hidden():
        return [layers.Dense(HIDDEN, "tanh") for _ in range(2)]  # Glorot-uniform, as Keras's layers are

    logits = layers.Dense(train[0].size)
    logits.build((None, HIDDEN))
    means = np.clip(train.mean(axis=0) / 255, 0.001, 0.999)
    logits.bias.assign(np.log(means / (1 - means)).ravel())
    encoder = keras.Sequential([layers.Flatten(), *hidden(), keras_vae.layers.IndependentNormal(LATENTS)])
    likelihood = keras_vae.layers.IndependentBernoulli(train.shape[1:], projection=False)
    vae = keras_vae.VAE(
        encoder, keras.Sequential([*hidden(), logits, likelihood]), objective=OBJECTIVES[objective](k), seed=seed
    )
    vae.compile(keras.optimizers.Adam(schedule(len(train) // BATCH), beta_1=0.9, beta_2=0.999, epsilon=1e-4))
    return vae


def ends(stages):
    """After how many epochs each stage ends: 1, 4, 13, 40, 121, 364, 1093, 3280."""
    return list(itertools.accumulate(3**stage for stage in range(stages)))


def rate(stage):
    return 1e-3 * 10 ** (-stage / 7)


def schedule(steps):
    """The learning rate by the optimizer's count of steps, `steps` an epoch."""
    lasts = [end * steps - 1 for end in ends(STAGES - 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(lasts, [rate(stage) for stage in range(STAGES)])


def write(folder):
    """Writes the table and the figure of all runs in a folder; returns their files."""
    records, files = records_of(folder, OBJECTIVES), (folder / "table.md", folder / "curve.png")
    files[0].write_text(table(records))
    draw(records).savefig(files[1], dpi=110)
    return files


def table(records):
    """A row for each stage of each run."""
    headings = ["objective", "k", "stage", "epochs in all", "test NLL", "in the paper, after stage 7", "ELBO", "KL"]
    headings += ["active units", "in the paper", "minutes of training"]
    rows = []
    for record in records:
        objective, k = record["settings"]["objective"], record["settings"]["k"]
        nll, active = PAPER.get((objective, k), ("", ""))
        for result in record["results"]:
            rows.append([objective.upper(), k, result["stage"], f"{result['epochs']:,}"])
            rows[-1] += [f"{result['nll']:.2f} ± {result['standard_error']:.2f}", nll]
            rows[-1] += [f"{result['elbo']:.2f}", f"{result['kl']:.2f}", result["active_units"], active]
            rows[-1] += [f"{result['minutes_of_training']:.0f}"]
    samples = sorted({f"{result['num_samples']:,}" for record in records for result in record["results"]})
    legend = f"Nats an image, NLL of test images by {' or '.join(samples)} samples, ± the standard error over images."
    return f"{legend}\n\n{markdown(headings, rows)}"


def draw(records):
    """Test NLL after each stage, and the validation loss after each epoch, by epochs; the paper's NLL at their end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, record in enumerate(records):
        objective, k = record["settings"]["objective"], record["settings"]["k"]
        color, label = f"C{number}", f"{objective.upper()}, k = {k}"
        curve, results = record["curve"], record["results"]
        axes.plot([row["epoch"] for row in curve], [row["val_loss"] for row in curve], color, alpha=0.3, linewidth=1)
        axes.plot([each["epochs"] for each in results], [each["nll"] for each in results], f"{color}o-", label=label)
        if (objective, k) in PAPER:
            axes.plot(ends(STAGES)[-1], PAPER[objective, k][0], f"{color}*", markersize=11)
    axes.plot([], [], "k*", markersize=11, linestyle="none", label="in the paper")
    axes.plot([], [], "k", alpha=0.3, linewidth=1, label="loss on validation images")
    lowest = min(each["nll"] for record in records for each in record["results"])
    axes.set(xscale="log", xlim=(0.8, 5000), ylim=(min(lowest, 84) - 1, max(115, lowest + 15)))
    axes.set(xlabel="epochs", ylabel="nats an image", title="MNIST, rebinarised: test NLL after each stage")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
