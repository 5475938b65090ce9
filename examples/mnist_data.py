"""MNIST in zeros and ones, by NumPy; Keras downloads it where there is no folder that has it."""

import sys

import numpy as np

FIXED = 1509  # by this seed, whatever that of the run, images become zeros and ones that stay as they are
QUICK = {"train": 500, "validation": 100, "test": 100}  # images
ADVICE = """Expected arrays x_train and x_test, uint8 [N, 28, 28].
Without a network: put mnist.npz, as Keras downloads it, into a folder, and give that: --data-dir FOLDER"""


def load_mnist(folder, num_validation, quick=False):
    """Images to train, to validate and to test on, uint8 `[N, 28, 28]`: of the training images the last validate."""
    try:
        if folder is None:
            import keras  # here, for where nothing is downloaded it is not needed

            (images, _), (test, _) = keras.datasets.mnist.load_data()
        else:
            with np.load(folder / "mnist.npz") as file:
                images, test = file["x_train"], file["x_test"]
        for x in (images, test):
            if x.dtype != "uint8" or x.shape[1:] != (28, 28):
                raise ValueError(f"received {x.dtype} {list(x.shape)}")
    except Exception as error:  # a failed download is a bare Exception
        sys.exit(f"No MNIST to train on: {error}\n{ADVICE}")
    parts = {"train": images[:-num_validation], "validation": images[-num_validation:], "test": test}
    return [part[: QUICK[name]] if quick else part for name, part in parts.items()]


def binarised(grey, *seed):
    """Zeros and ones, a draw a pixel: a one with a probability of grey / 255, exactly. float32, of the same shape."""
    draws = np.random.default_rng(seed).integers(255, size=grey.shape, dtype="uint8")  # 0 to 254
    return (draws < grey).astype("float32")
