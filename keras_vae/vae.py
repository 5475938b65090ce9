"""The VAE: a Keras model that reads as the equation."""

import functools
from typing import Any

import keras
from keras import ops

from keras_vae.adapting import Adaptable
from keras_vae.backend import tfd
from keras_vae.checks import check_integer, check_seed
from keras_vae.data import contract
from keras_vae.engine import query
from keras_vae.estimates import centre, point_estimate
from keras_vae.inference import Inference
from keras_vae.layers.fitted import fitted
from keras_vae.layers.unflattened import UnflattenedDistribution
from keras_vae.noise import Noise
from keras_vae.objectives import ELBO, ForwardPass, Objective
from keras_vae.persistence import Persistent
from keras_vae.priors import Prior, StandardNormal


@keras.saving.register_keras_serializable("keras_vae")
class VAE(Adaptable, Inference, Persistent):
    """A variational autoencoder: an encoder that gives q(z|x), a decoder that gives p(x|z), and an objective.

        maximise E_q(z|x)[ log p(x|z) ] - KL(q(z|x) || p(z))

    (Kingma & Welling, arXiv 1312.6114, equation 10). Trained by `fit` on x alone; labels, if given, are ignored. `loss`
    is minimised; the metrics `elbo`, `nll` and `kl` are in nats per example, exact over the epoch, and never weighted.
    They are reported whatever the objective is.

        encoder = keras.Sequential([keras.layers.Dense(64, "relu"), keras_vae.layers.IndependentNormal(4)])
        decoder = keras.Sequential([keras.layers.Dense(64, "relu"), keras_vae.layers.IndependentNormal(13)])
        vae = keras_vae.VAE(encoder, decoder)
        vae.compile("adam")
        vae.fit(x, epochs=10)  # x: [N, 13]

    Args:
        encoder: a Keras model that ends in a distribution layer: x `[B, *event]` to a reparameterized
            `tfd.Distribution` of batch `[B]`.
        decoder: a Keras model that ends in a distribution layer: z `[N, *latent]` to a `tfd.Distribution` of batch
            `[N]` whose event shape is that of one x.
        prior: p(z), a `keras_vae.priors` object. Default `StandardNormal()`.
        objective: what is minimised, a `keras_vae.objectives` object. Default `ELBO()`.
        target: which part of x the likelihood scores, for an encoder of several inputs: an index or key of x. By
            default x itself, or its first entry if x is a list or tuple; needed if x is a dictionary.
        seed: an integer, for the noise of the latents (the initial weights have seeds of their own). Default: drawn
            from Python's generator. `keras.utils.set_random_seed` seeds that and the weights.

    Raises:
        ValueError: an argument is not of the kind named; when first called or fitted, if encoder or decoder do not end
            in a distribution, or the event shapes of posterior, prior, decoder and x do not fit together.
    """

    def __init__(
        self,
        encoder: keras.Layer,
        decoder: keras.Layer,
        prior: Prior | None = None,
        objective: Objective | None = None,
        target: int | str | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        objective = ELBO() if objective is None else objective
        contract.check_part("objective", objective, Objective, "keras_vae.objectives.ELBO()")
        super().__init__(objective, target, **kwargs)
        prior = StandardNormal(dtype=self.dtype_policy) if prior is None else prior
        contract.check_part("prior", prior, Prior, "keras_vae.priors.StandardNormal()")
        contract.check_part("encoder", encoder, keras.Layer, "keras.Sequential([...])")
        contract.check_part("decoder", decoder, keras.Layer, "keras.Sequential([...])")
        if seed is not None:
            check_seed(seed)
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.objective = objective
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(None if seed is None else int(seed))
        self.noise = Noise(self.seed_generator)
        self.evaluation_seeds, self.prediction_seeds = self.noise.evaluation, self.noise.prediction

    def call(self, x: Any, training: bool | None = None) -> dict[str, Any]:
        """`{"reconstruction": [B, *event], **terms [B]}`, with each weighted term's batch mean added as a loss."""
        forward = self.forward_pass(x, self.noise.next_seed(training), training)
        terms = self.objective(forward)  # {"nll": [B], "kl": [B], ...}, in nats
        forward.commit_fits()  # what Optimal() sigmas were fitted to joins their averages, once a step
        self.objective.commit(forward)  # so does what an objective learns without a gradient
        self.add_terms(terms, training)  # each weighted batch mean, by add_loss
        return {"reconstruction": forward.reconstruction(), **forward.reported(terms)}

    def forward_pass(self, x: Any, seed: Any, training: bool | None = None) -> ForwardPass:
        """x `[B, *event]` through the model, to all that the objective looks at.

        Args:
            x: `[B, *event]`.
            seed: of all its noise, int32 `[2]`.
            training: as of `call`.
        """
        posterior, prior, z = self.infer(x, seed, training)  # q(z|x), p(z), z ~ q: [S, B, D]
        tap = self.objective.tap(z)  # z, with the gradient that the objective wants
        decode = functools.partial(self.decode, training=training)
        x = self.target_of(x)
        likelihood, fits = fitted(decode(tap.z), x)  # p(x|z): batch [S, B], event = shape of one x
        step = {"training": bool(training), "step": self.step_of(training), "sample_weight": self.example_weights()}
        return ForwardPass(x, posterior, z, likelihood, prior, tuple(fits), decode, seed, tap=tap, **step)

    def infer(self, x: Any, seed: Any, training: bool | None = None) -> tuple[tfd.Distribution, tfd.Distribution, Any]:
        """The posterior q(z|x), batch `[B]`; the prior p(z), batch `[]`; and draws of z, `[S, B, *latent]`.

        Args:
            x, seed, training: as of `forward_pass`.
        """
        posterior, prior = self.encode(x, training=training), self.prior()
        return posterior, prior, self.objective.draw(posterior, seed)

    @query
    def encode(self, x: Any, training: bool | None = None) -> tfd.Distribution:
        """The posterior q(z|x) of x `[B, *event]`: a `tfd.Distribution` of batch `[B]`.

        Where x is a dictionary, parts that the encoder has no input for may be left out.
        """
        return self.encoder(self.seen_of(x), training=training)

    def decode(self, z: Any, training: bool | None = None) -> tfd.Distribution:
        """The likelihood p(x|z) of z `[*batch, *latent]`: a `tfd.Distribution` of batch `[*batch]`.

        That is the decoder's own for one batch axis. For any other number of them it is a view of it, which has
        densities, draws, moments and an entropy. Latents of another shape than it takes are a ValueError.
        """
        z = ops.convert_to_tensor(z)
        batch_ndims = len(z.shape) - (len(self.prior.latent_shape) if self.prior.built else 1)
        latent_shape = tuple(z.shape[batch_ndims:])
        contract.check_latent(self.decoder, latent_shape)
        if batch_ndims == 1:
            return self._decode_rows(z, training=training)
        rows = self._decode_rows(ops.reshape(z, (-1, *latent_shape)), training=training)
        return UnflattenedDistribution(rows, ops.shape(z)[:batch_ndims])

    @query
    def _decode_rows(self, z, training=None):
        return self.decoder(z, training=training)

    @query
    def reconstruct(self, x: Any, sample: bool = False, seed: int | None = None) -> Any:
        """The mean of p(x|z), or of categories the likeliest, at the posterior's mean or centre, `[B, *event]`.

        Args:
            x: `[B, *event]`.
            sample: True to draw z from the posterior and then x from the likelihood instead.
            seed: an integer, for a repeatable draw. Default: the model's own seeds.
        """
        posterior = self.encode(x)
        if not sample:
            return point_estimate(self.decode(centre(posterior)))
        latent_seed, event_seed = self.seeds(seed, "posterior", "reconstruction")
        return self.decode(posterior.sample(seed=latent_seed)).sample(seed=event_seed)

    def generate(self, num: int, seed: int | None = None, sample: bool = False) -> Any:
        """New examples, `[num, *event]`: the mean of p(x|z), or of categories the likeliest, at draws from the prior.

        Args:
            num: how many, a positive integer.
            seed: an integer, for repeatable draws. Default: the model's own seeds.
            sample: True to draw x from the likelihood instead.

        Raises:
            ValueError: `num` is not a positive integer, or the latent's shape is not yet known.
        """
        num = check_integer("generate", "num", num)
        if not self.prior.built:
            raise ValueError("generate: expected a built model; received one that has not seen data. Call `fit` first.")
        return self._generated(num, sample, seed)

    @query
    def _generated(self, num, sample, seed=None):
        latent_seed, event_seed = self.seeds(seed, "prior", "event")
        likelihood = self.decode(self.prior().sample(num, seed=latent_seed))
        return likelihood.sample(seed=event_seed) if sample else point_estimate(likelihood)

    point_estimate = staticmethod(point_estimate)
