"""What it costs to watch a VAE train: epochs of the quick start's model on MNIST, with `TensorBoard` and without.

    python examples/benchmarks/watching.py                      # MNIST, which Keras downloads
    python examples/benchmarks/watching.py --data-dir FOLDER    # MNIST from FOLDER/mnist.npz

Fits of the same model in turns, in one process: without a callback, with Keras's own `TensorBoard`, with
`keras_vae.callbacks.TensorBoard` at its default settings, with `Gallery`, and with `CollapseAlarm`. An epoch's time is
from its beginning to the next one's, validation and whatever the callback does included; the first epoch of each fit,
in which programs are made, is told apart: it is what watching costs once.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

import keras

import keras_vae

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import quickstart
from stopwatch import Stopwatch


def main():
    parser = argparse.ArgumentParser(description="What callbacks cost an epoch on MNIST.")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where mnist.npz is, if not at Keras's")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=6, help="of each fit; default: %(default)s")
    args = parser.parse_args()
    if args.rounds < 1 or args.epochs < 3:
        parser.error("expected --rounds of at least 1 and --epochs of at least 3")

    keras.utils.set_random_seed(0)
    data = quickstart.load_mnist(args.data_dir, seed=0)
    vae = quickstart.build(data)
    vae.compile(keras.optimizers.Adam(1e-3))
    with tempfile.TemporaryDirectory() as folder:
        watchers = {
            "none": lambda: [],
            "keras.callbacks.TensorBoard": lambda: [keras.callbacks.TensorBoard(f"{folder}/keras")],
            "keras_vae.callbacks.TensorBoard": lambda: [keras_vae.callbacks.TensorBoard(f"{folder}/ours")],
            "keras_vae.callbacks.Gallery": lambda: [keras_vae.callbacks.Gallery(f"{folder}/gallery")],
            "keras_vae.callbacks.CollapseAlarm": lambda: [keras_vae.callbacks.CollapseAlarm()],
        }
        fit = {"validation_data": data.validation, "batch_size": 128, "verbose": 0}
        vae.fit(data.train, epochs=1, **fit)  # compiles what all of them use
        first, later = ({name: [] for name in watchers} for _ in range(2))
        for _ in range(args.rounds):
            for name, make in watchers.items():
                stopwatch = Stopwatch()
                vae.fit(data.train, epochs=args.epochs, callbacks=[stopwatch, *make()], **fit)
                first[name].append(stopwatch.seconds[0])
                later[name] += stopwatch.seconds[1:]
                print(".", end="", flush=True)

    first, later = ({name: statistics.median(each) for name, each in times.items()} for times in (first, later))
    print("\n\n| callback | an epoch, s | of one without | once, s |\n| --- | ---: | ---: | ---: |")
    for name in watchers:
        once = (first[name] - later[name]) - (first["none"] - later["none"])
        print(f"| `{name}` | {later[name]:.3f} | {later[name] / later['none']:.3f} | {once:.2f} |")


if __name__ == "__main__":
    main()
