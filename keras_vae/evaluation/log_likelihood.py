"""The importance-sampled log-likelihood, in memory that does not grow with the number of samples."""

import keras
from keras import ops

from keras_vae import backend, compat
from keras_vae.checks import check_integer
from keras_vae.data import kinds
from keras_vae.data.data_check import DataCheck
from keras_vae.data.parts import pick
from keras_vae.engine import datasets

# Latents that the decoder sees at once: enough to keep a matrix product busy, few enough for a cache.
BLOCK_ROWS = 2048

# Latents between two movements of the progress bar: seconds of work for a small decoder.
STEP_ROWS = 2**18

# Samplers that a model keeps, each for another number of draws at once; the oldest makes room.
MOST_SAMPLERS = 8


def log_likelihood(vae, x, num_samples, batch_size=None, verbose="auto", seed=None, check_data=True):
    """Estimates log p(x) under a VAE, for any kind of data: see `VAE.log_likelihood`."""
    num_samples = check_integer("log_likelihood", "num_samples", num_samples)
    if batch_size is None:
        batch_size = examples_at_once(num_samples)
    batch_size = check_integer("log_likelihood", "batch_size", batch_size)
    given, steps = {"x": x}, None
    with DataCheck(vae, enabled=check_data) as check:
        spec = vae.prepare_data(given, check, "x")
        if kinds.is_dataset(given["x"]):
            given["x"] = datasets.rebatched(given["x"], batch_size)
        elif kinds.holds_arrays(given["x"]) and vae.engine.is_replicated:
            given["x"] = datasets.batched(given["x"], batch_size)
        elif kinds.holds_arrays(given["x"]):
            given["x"], _, steps = vae.engine.batches_to_predict(given["x"], batch_size)
        elif spec is not None:
            batch_size = pick(spec, vae.target).shape[0] or batch_size
        # Folded, so that counting up from it, batch by batch, meets no other call's seeds.
        (seed,) = vae.seeds(seed, "importance")
        with vae.engine.sampling:
            sampler = sampler_of(vae, draws_at_once(batch_size))
            sampler.restart(num_samples, seed)
            return sampler.predict(given["x"], batch_size=batch_size, verbose=verbose, steps=steps)


def sampler_of(vae, block, kind=None):
    """A VAE's importance sampler of so many draws at once, which is made and compiled once: its engine keeps it.

    Args:
        vae: the `VAE`.
        block: draws an example that go through the decoder at once.
        kind: the sampler's class. Default `ImportanceSampler`.
    """
    kind = ImportanceSampler if kind is None else kind
    jit_compile = vae.jit_compile if vae.compiled else backend.xla_choice(compat.layers_of(vae))[0]
    samplers = vae.engine.samplers
    key = kind, block, jit_compile
    if key not in samplers:
        with vae.distribute_strategy.scope():
            samplers[key] = kind(vae, block)
        samplers[key].jit_compile = jit_compile
    sampler = samplers[key]
    while len(samplers) > MOST_SAMPLERS:
        samplers.pop(next(iter(samplers)), None)
    return sampler


class ImportanceSampler(keras.Model):
    """Estimates log p(x) under a VAE through `predict`, for whatever data `predict` takes.

        log p(x) ~= log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

    In expectation the estimate is a lower bound, which tightens as S grows (Burda, Grosse & Salakhutdinov, arXiv
    1509.00519, equation 8 and theorem 1). The encoder runs once an example. The draws go through the decoder in blocks,
    and only a running maximum and sum of the weights is kept.

        sampler = keras_vae.evaluation.ImportanceSampler(vae, block=100)
        sampler.restart(1000, seed=[0, 1])
        sampler.predict(x)  # [64], nats; VAE.log_likelihood does all of it

    Args:
        vae: the `VAE`.
        block: draws an example that go through the decoder at once.
    """

    def __init__(self, vae, block, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.vae = vae
        self.block = block
        self.seed_generator = keras.random.SeedGenerator(0)
        # A variable, so that another number of samples needs no new program.
        self.num_samples = self.add_weight(shape=(), dtype="int32", initializer="ones", trainable=False)

    def restart(self, num_samples, seed):
        """Sets S and the seed, integers [2], for the next `predict`."""
        self.num_samples.assign(num_samples)
        self.seed_generator.state.assign(seed)

    def make_predict_function(self, force=False):
        if self.predict_function is None or force:
            self.predict_function = self.vae.engine.predict_function(self)
            if self.predict_function is None:
                super().make_predict_function(force=True)

    def call(self, x):
        posterior = self.vae.encode(x)
        seed = backend.seed_for_rows(backend.stateless_seed(self.seed_generator), posterior)
        num_samples = ops.convert_to_tensor(self.num_samples)
        return importance_sampled(self.vae, self.vae.target_of(x), posterior, num_samples, seed, self.block)


def importance_sampled(vae, x, posterior, num_samples, seed, block):
    """The estimate of log p(x), `[B]`, nats: see `ImportanceSampler`.

    Args:
        vae: the `VAE`.
        x: what the likelihood scores, `[B, *event]`.
        posterior: q(z|x), batch `[B]`.
        num_samples: S, an int32 tensor.
        seed: int32 `[2]`.
        block: draws an example that go through the decoder at once, an integer or an int32 tensor.
    """
    first_part, prior = keras.tree.flatten(x)[0], vae.prior()

    def log_weights(start):
        """log p(x|z) + log p(z) - log q(z|x) of one block, `[block, B]`; -inf past the last sample."""
        z = posterior.sample(block, seed=backend.fold_in(seed, start))
        log_probs = vae.decode(z).log_prob(x), prior.log_prob(z), posterior.log_prob(z)
        likelihood, prior_density, posterior_density = (ops.cast(each, first_part.dtype) for each in log_probs)
        weights = likelihood + prior_density - posterior_density
        beyond = start + ops.arange(block) >= num_samples
        return ops.where(beyond[:, None], -float("inf"), weights)

    def add_block(start, peak, total):
        weights = log_weights(start)
        higher = ops.maximum(peak, ops.max(weights, axis=0))
        # While every weight so far is -inf there is nothing to scale by.
        base = ops.where(ops.equal(higher, -float("inf")), 0.0, higher)
        return start + block, higher, total * ops.exp(peak - base) + ops.sum(ops.exp(weights - base), axis=0)

    nothing = ops.zeros(ops.shape(first_part)[:1], dtype=first_part.dtype)
    _, peak, total = ops.while_loop(
        lambda start, peak, total: start < num_samples,
        add_block,
        (ops.zeros((), "int32"), nothing - float("inf"), nothing),
    )
    return peak + ops.log(total) - ops.log(ops.cast(num_samples, peak.dtype))


def examples_at_once(num_samples):
    """How many examples make one step of `predict`: the fewer, the more draws each takes."""
    return min(max(1, STEP_ROWS // num_samples), BLOCK_ROWS)


def draws_at_once(batch_size):
    """How many draws of each of a batch's examples make one block for the decoder."""
    return max(1, BLOCK_ROWS // batch_size)


def draws_for(x, num_samples):
    """How many draws make one block if the batch size is known only when run: int32, at most `num_samples`."""
    batch_size = ops.shape(keras.tree.flatten(x)[0])[0]
    return ops.minimum(ops.maximum(BLOCK_ROWS // ops.maximum(batch_size, 1), 1), num_samples)
