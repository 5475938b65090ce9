"""What is asked of a VAE for data of any size and kind: batch by batch, compiled, with progress."""

import threading

import keras
from keras import ops

from keras_vae import backend, compat
from keras_vae.checks import check_integer
from keras_vae.data import kinds
from keras_vae.data.data_check import DataCheck
from keras_vae.data.parts import lacks_target
from keras_vae.engine import datasets

# Latents that the decoder sees at once: enough to keep a matrix product busy, few enough for a cache.
BLOCK_ROWS = 2048

# Latents between two movements of the progress bar: seconds of work for a small decoder.
STEP_ROWS = 2**18

# Readers that a model keeps, each for another question or number of draws at once; the oldest makes room.
MOST_READERS = 8


class Reader(keras.Model):
    """Answers one question of a VAE for each example, through `predict`, for whatever data `predict` takes.

    A subclass defines `answer(x, num_samples, seed)`. Its programs are made once, whatever the number of samples is.

    Args:
        vae: the `VAE`.
        block: draws an example that go through the decoder at once.
    """

    scores = True  # whether x is scored, and so must have the part that is

    def __init__(self, vae, block=1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.vae = vae
        self.block = block
        self.seed_generator = keras.random.SeedGenerator(0)
        # A variable, so that another number of samples needs no new program.
        self.num_samples = self.add_weight(shape=(), dtype="int32", initializer="ones", trainable=False)
        self.reading = threading.Lock()  # it serves one thread at a time

    def restart(self, num_samples, seed):
        """Sets S and the seed, integers [2], for the next `predict`."""
        self.num_samples.assign(num_samples)
        self.seed_generator.state.assign(seed)

    def make_predict_function(self, force=False):
        if self.predict_function is None or force:
            self.predict_function = self.vae.engine.predict_function(self)
            if self.predict_function is None:
                super().make_predict_function(force=True)

    def answer(self, x, num_samples, seed):
        """The answer for a batch of x `[B, ...]`: a tensor `[B, ...]`, or a dictionary of them.

        Args:
            x: as the encoder takes it.
            num_samples: S, an int32 tensor.
            seed: of this batch's draws, int32 `[2]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `answer`")

    def call(self, x):
        return self.answer(x, ops.convert_to_tensor(self.num_samples), self.batch_seed())

    def batch_seed(self):
        """The seed of a batch's draws, int32 `[2]`: another for each."""
        return backend.stateless_seed(self.seed_generator)


def read(
    vae, kind, x, *, name, num_samples=1, batch_size=None, verbose="auto", seed=None, check_data=True, of_reader=None
):
    """What a VAE's `Reader` answers for data of any kind, as NumPy arrays.

    Args:
        vae: the `VAE`.
        kind: a subclass of `Reader`.
        x: what `predict` takes.
        name: of the method, for errors.
        of_reader: arguments of that subclass beside the VAE and the block, a dictionary.
        num_samples, batch_size, verbose, seed, check_data: as of `VAE.log_likelihood`.

    Raises:
        ValueError: `num_samples` or `batch_size` is not a positive integer; x cannot be scored.
    """
    num_samples = check_integer(name, "num_samples", num_samples)
    keeps_batches = batch_size is None and num_samples == 1  # a data set's own, whose number Keras knows
    if batch_size is None:
        batch_size = examples_at_once(num_samples)
    batch_size = check_integer(name, "batch_size", batch_size)
    given, steps = {"x": x}, None
    is_whole = kind.scores or not lacks_target(x, vae.target)
    with DataCheck(vae, enabled=check_data and is_whole) as check:
        vae.take_in(given, check, "x")
        spec = vae.prepare_data(given, check, "x", is_whole)
        if kinds.is_dataset(given["x"]):
            given["x"] = given["x"] if keeps_batches else datasets.rebatched(given["x"], batch_size)
        elif kinds.holds_arrays(given["x"]) and vae.engine.is_replicated:
            held = given["x"]  # by this: a data set reads a file's by way of a reference that does not hold it
            given["x"] = datasets.batched(held, batch_size)
        elif kinds.holds_arrays(given["x"]):
            given["x"], _, steps = vae.engine.batches_to_predict(given["x"], batch_size)
        elif spec is not None:
            batch_size = keras.tree.flatten(spec)[0].shape[0] or batch_size
        # Folded, so that counting up from it, batch by batch, meets no other call's seeds.
        (seed,) = vae.seeds(seed, "importance")
        reader = reader_of(vae, kind, draws_at_once(batch_size), of_reader, check.has_sparse)
        with reader.reading:
            reader.restart(num_samples, seed)
            return reader.predict(given["x"], batch_size=batch_size, verbose=verbose, steps=steps)


def reader_of(vae, kind, block, options=None, has_sparse=False):
    """A VAE's reader of so many draws at once, which is made and compiled once: its engine keeps it.

    Args:
        vae: the `VAE`.
        kind: a subclass of `Reader`.
        block: draws an example that go through the decoder at once.
        options: arguments of that subclass beside these, a dictionary.
        has_sparse: whether a part of x is sparse, which XLA does not take.
    """
    options = options or {}
    jit_compile = vae.jit_compile if vae.compiled else backend.xla_choice(compat.layers_of(vae))[0]
    jit_compile = jit_compile and not has_sparse
    readers, key = vae.engine.readers, (kind, block, jit_compile, *options.items())
    with vae.engine.making_readers:
        if key not in readers:
            with vae.distribute_strategy.scope():
                readers[key] = kind(vae, block, **options)
            readers[key].jit_compile = jit_compile
        reader = readers[key]
        while len(readers) > MOST_READERS:
            readers.pop(next(iter(readers)), None)
    return reader


def examples_at_once(num_samples):
    """How many examples make one step of `predict`: the fewer, the more draws each takes."""
    return min(max(1, STEP_ROWS // num_samples), BLOCK_ROWS)


def draws_at_once(batch_size):
    """How many draws of each of a batch's examples make one block for the decoder."""
    return max(1, BLOCK_ROWS // batch_size)
