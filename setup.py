"""All of keras_vae's packaging metadata. pyproject.toml holds only the build system and the tools' tables."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "keras_vae/version.py").read_text(), re.M).group(1)

setup(
    name="keras_vae",
    version=VERSION,
    description="Variational autoencoders for Keras 3 whose decoder is a distribution: exact, and compiled with XLA.",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=["keras_vae.ops", *find_packages(include=["keras_vae", "keras_vae.*"])],
    package_dir={"keras_vae": "keras_vae", "keras_vae.ops": "ops"},
    package_data={"keras_vae": ["py.typed"]},
    install_requires=[
        # What was installed and tested of every range, and when: README, "Versions".
        "tensorflow>=2.18,<2.22",  # the arrays, autodiff and XLA; 2.18 is the first that TFP 0.25 accepts
        "keras>=3.8,<3.16",  # the Model this library subclasses; 3.8 is of the winter of TensorFlow 2.18
        "tensorflow-probability>=0.25,<0.26",  # the distributions; 0.25 is the first for TensorFlow 2.18 and later
        "tf-keras>=2.18,<2.22",  # TFP imports only beside it; nothing here uses it
        "h5py>=3.7",  # Keras's own, which weights are saved by: a file is opened to see that it is whole
        "numpy>=1.26",  # checks on the user's arrays; what TensorFlow 2.18 itself needs on Python 3.12
    ],
    extras_require={
        # The viewer, which TensorFlow 2.21 no longer brings along, and whose package writes what it shows.
        "tensorboard": ["tensorboard>=2.18,<2.22", "matplotlib>=3.8"],
        "pictures": ["matplotlib>=3.8"],  # callbacks draw images without it, and with it sequences and vectors
        # `keras_vae.wrappers`; 1.6 is the first whose `validate_data` and tags are public, 2 what may break them.
        "sklearn": ["scikit-learn>=1.6,<2"],
        "examples": [
            "matplotlib>=3.8",  # draws the pictures
            "scikit-learn>=1.4",  # load_digits: real data that needs no download
        ],
        # Where `vae.export` goes. TensorFlow writes what LiteRT reads; ONNX takes a converter, the one that Keras uses.
        "litert": ["ai-edge-litert>=1.2,<3"],
        "onnx": ["tf2onnx>=1.16,<2", "onnx>=1.16,<2", "onnxruntime>=1.18,<2"],
        "bench": [
            # Peers to measure against, each optional: without one, its rows say so. Tried: torch 2.13, jax 0.10.2,
            # optax 0.2.8. The lower ends are where what they are asked for exists: Adam(fused=True) on a CPU, typed
            # random keys, optax's sigmoid_binary_cross_entropy. The upper ends are the next that may break it.
            "torch>=2.4,<3",
            "jax>=0.4.31,<1",
            "optax>=0.2.3,<0.3",
            "matplotlib>=3.8",  # draws the figure; tf-keras is there, since TFP needs it
        ],
        "test": [
            "pytest>=8",  # runs the tests
            "pytest-xdist>=3.5",  # on two cores: most of a test is compiling
            "ruff>=0.6",  # lint
            "scipy>=1.12",  # the referee of every log-density; sparse arrays
            "pandas>=2.1",  # data frames, as people have their data
            "mpmath>=1.3",  # 50 digits, where float64 cancels too
            "matplotlib>=3.8",  # the quick start is tested whole
            "scikit-learn>=1.6,<2",  # likewise, and the referee of keras_vae.wrappers
            "tensorboard>=2.18,<2.22",  # what it serves of a log is what is tested
            "selenium>=4.20,<5",  # drives a browser through TensorBoard's pages
            "pillow>=10",  # reads the pictures back
            "build>=1",  # builds the wheel that the packaging test opens
            "ai-edge-litert>=1.2,<3",  # exports are run where they are meant to run
            "tf2onnx>=1.16,<2",
            "onnx>=1.16,<2",
            "onnxruntime>=1.18,<2",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
