"""The VAE: a Keras model that reads as the equation."""

import functools
import types

import keras
from keras import ops

from keras_vae import backend, contract, datasets, export, random_state, target
from keras_vae.data_check import DataCheck, holds_arrays, spec_of
from keras_vae.evaluation.log_likelihood import ImportanceSampler, draws_at_once, examples_at_once
from keras_vae.layers.unflattened import Unflattened
from keras_vae.objectives import ELBO, ForwardPass, Objective
from keras_vae.priors import Prior, StandardNormal
from keras_vae.training import TermTrainer
from keras_vae.version import __version__, check_not_newer


@keras.saving.register_keras_serializable("keras_vae")
class VAE(TermTrainer):
    """A variational autoencoder: an encoder that gives q(z|x), a decoder that gives p(x|z), and an objective.

        maximise E_q(z|x)[ log p(x|z) ] - KL(q(z|x) || p(z))

    (Kingma & Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114, equation 10). Trained by `fit` on x alone;
    labels, if given, are ignored. `loss` is minimised; the metrics `elbo`, `nll` and `kl` are in nats per example,
    exact over the epoch, and never weighted by the objective.

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

    def __init__(self, encoder, decoder, prior=None, objective=None, target=None, seed=None, **kwargs):
        objective = ELBO() if objective is None else objective
        contract.check_part("objective", objective, Objective, "keras_vae.objectives.ELBO()")
        super().__init__(objective, target, **kwargs)
        prior = StandardNormal(dtype=self.dtype_policy) if prior is None else prior
        contract.check_part("prior", prior, Prior, "keras_vae.priors.StandardNormal()")
        contract.check_part("encoder", encoder, keras.Layer, "keras.Sequential([...])")
        contract.check_part("decoder", decoder, keras.Layer, "keras.Sequential([...])")
        if seed is not None:
            backend.check_seed(seed)
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(None if seed is None else int(seed))
        # Compiled programs, and what x is: where Keras does not track them, nor puts its own dictionaries in place.
        self._untracked = types.SimpleNamespace(samplers={}, x_spec=None, x_dtypes=None)

    def __call__(self, x, *args, **kwargs):
        if not self.built and (spec := spec_of(x)) is not None:
            self.build_for(spec)
        return super().__call__(x, *args, **kwargs)

    def call(self, x, training=None):
        """`{"reconstruction": [B, *event], **terms [B]}`, with each weighted term's batch mean added as a loss."""
        draw = self.forward_pass(x, backend.stateless_seed(self.seed_generator), training)
        terms = contract.check_terms(self.objective, self.objective(draw))  # {"nll": [B], "kl": [B], ...}, in nats
        self.add_terms(terms, training)  # each weighted batch mean, by add_loss
        mean = keras.tree.map_structure(lambda part: ops.mean(part, axis=0), self.point_estimate(draw.likelihood))
        return {"reconstruction": mean, **terms}

    @property
    def x_spec(self):
        """What x is: a `KerasTensor`, or a structure of them, of unknown batch size; None until built."""
        return self._untracked.x_spec

    def forward_pass(self, x, seed, training=None):
        """x `[B, *event]` through the model, to all that the objective looks at: a `ForwardPass`.

        Args:
            x: `[B, *event]`.
            seed: of the draws of z, int32 `[2]`.
            training: as of `call`.
        """
        posterior = self.encode(x, training=training)  # q(z|x): batch [B], event [D]
        contract.check_reparameterized(posterior)
        prior = self._prior_for(posterior)  # p(z): batch [], event [D]
        z = posterior.sample(self.objective.num_samples, seed=backend.seed_for_rows(seed, posterior))  # [S, B, D]
        likelihood = self.decode(z, training=training)  # p(x|z): batch [S, B], event = shape of one x
        return ForwardPass(self._target_for(likelihood, x), posterior, z, likelihood, prior)

    def encode(self, x, training=None):
        """The posterior q(z|x) of x `[B, *event]`: a `tfd.Distribution` of batch `[B]`.

        Raises:
            ValueError: the encoder does not end in a distribution.
        """
        x = target.replace(keras.tree.map_structure(ops.convert_to_tensor, x), self.target_of(x), self.target)
        return contract.check_distribution("encoder", self.encoder(x, training=training))

    def decode(self, z, training=None):
        """The likelihood p(x|z) of z `[*batch, *latent]`: a `tfd.Distribution` of batch `[*batch]`.

        That is the decoder's own for one batch axis, and for any other number of them a view of it.

        Raises:
            ValueError: the decoder does not end in a distribution, or takes latents of another shape.
        """
        z = ops.convert_to_tensor(z)
        batch_ndims = len(z.shape) - (len(self.prior.latent_shape) if self.prior.built else 1)
        latent_shape = tuple(z.shape[batch_ndims:])
        contract.check_latent(self.decoder, latent_shape)
        rows = z if batch_ndims == 1 else ops.reshape(z, (-1, *latent_shape))
        likelihood = contract.check_distribution("decoder", self.decoder(rows, training=training))
        self.support, self.event_shape = getattr(likelihood, "support", None), static_event_shape(likelihood)
        return likelihood if batch_ndims == 1 else Unflattened(likelihood, ops.shape(z)[:batch_ndims])

    def reconstruct(self, x, sample=False, seed=None):
        """What the decoder makes of x's latent: the mean of p(x|z) at the posterior's mean, `[B, *event]`.

        Args:
            x: `[B, *event]`.
            sample: True to draw z from the posterior and then x from the likelihood instead.
            seed: an integer, for a repeatable draw. Default: the model's own seeds.
        """
        posterior = self.encode(x)
        if not sample:
            return self.point_estimate(self.decode(posterior.mean()))
        latent_seed, event_seed = self._seeds(seed, "posterior", "reconstruction")
        return self.decode(posterior.sample(seed=latent_seed)).sample(seed=event_seed)

    @staticmethod
    def point_estimate(likelihood):
        """The mean of p(x|z), or its mode if the family has no mean."""
        try:
            return likelihood.mean()
        except NotImplementedError:
            return likelihood.mode()

    def generate(self, num, seed=None, sample=False):
        """New examples, `[num, *event]`: the mean of p(x|z) at draws of z from the prior.

        Args:
            num: how many, a positive integer.
            seed: an integer, for repeatable draws. Default: the model's own seeds.
            sample: True to draw x from the likelihood instead of taking its mean.

        Raises:
            ValueError: `num` is not a positive integer, or the latent's shape is not yet known.
        """
        num = contract.check_positive_integer("generate", "num", num)
        if not self.prior.built:
            raise ValueError("generate: expected a built model; received one that has not seen data. Call `fit` first.")
        latent_seed, event_seed = self._seeds(seed, "prior", "event")
        likelihood = self.decode(self.prior().sample(num, seed=latent_seed))
        return likelihood.sample(seed=event_seed) if sample else self.point_estimate(likelihood)

    def export(self, filepath, format="tf_saved_model", verbose=None):
        """Writes the model for processes that have no keras_vae: named functions of tensors to dictionaries of them.

        - `reconstruct(x)`, also the default: `reconstruction`, the mean of p(x|z) at the posterior's mean.
        - `encode(x, seed)`: `mean` and `stddev` of q(z|x), `[B, D]`, and a `sample`.
        - `decode(z)`: `mean` of p(x|z), and its `stddev` where the family has one.
        - `generate(num, seed)`: `num` times a `sample` of p(x|z) at a draw of z from the prior, and its `mean`.
        - `score(x, num_samples, seed)`: `elbo`, `nll`, `kl` and `log_likelihood`, by importance sampling; `[B]`, nats.

        The batch size is free, and all draws are a function of `seed`, an int64, and of the batch. Numbers are float32
        whatever the networks compute in (float64 under a float64 policy). Of an x of several parts each is an input by
        its name: a dictionary's key, or the encoder's `keras.Input`'s. Of a `Joint` likelihood each output that is an x
        is one a part: `mean_age`.

        Args:
            filepath: a folder that is new, empty, or an earlier export, which is replaced; for "litert", a file whose
                name ends in .tflite. It is written beside, and then renamed: an error leaves nothing half-written.
            format: "tf_saved_model", for `tf.saved_model.load` and TensorFlow Serving; "litert", one file, or "onnx", a
                folder with a file each, both of `reconstruct`, `encode` without its sample and `decode`.
            verbose: False to print nothing.

        Raises:
            ValueError: the model has not seen data, `filepath` holds something else or is no local path, a part of x
                has a name that no input can have, the posterior has no mean or standard deviation in closed form, the
                format is not one of these, or it needs a package that is not there.
        """
        export.export(self, filepath, format, verbose)

    def log_likelihood(self, x, num_samples=5000, batch_size=None, verbose="auto", seed=None, check_data=True):
        """log p(x) by importance sampling from the posterior, `[N]`, nats per example, as a NumPy array.

            log p(x) ~= log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

        In expectation a lower bound, which tightens as S grows (Burda, Grosse & Salakhutdinov, arXiv 1509.00519,
        theorem 1). Memory does not grow with `num_samples`.

        Args:
            x: what `predict` takes: arrays, a `tf.data.Dataset`, a `PyDataset`, a generator.
            num_samples: S, a positive integer.
            batch_size: examples at a time, if x is arrays. Default: fewer the more samples, so that progress shows.
            verbose: as of `predict`.
            seed: an integer, for a repeatable estimate. Default: the model's own seeds.
            check_data: False to trust x unseen.

        Raises:
            ValueError: `num_samples` is not a positive integer; x cannot be scored.
        """
        num_samples = contract.check_positive_integer("log_likelihood", "num_samples", num_samples)
        if batch_size is None:
            batch_size = examples_at_once(num_samples)
        batch_size = contract.check_positive_integer("log_likelihood", "batch_size", batch_size)
        given = {"x": x}
        with DataCheck(self, enabled=check_data) as check:
            spec = self.take_data(given, check, "x")
            if datasets.is_dataset(given["x"]):
                given["x"] = datasets.rebatched(given["x"], batch_size)
            elif holds_arrays(given["x"]):
                given["x"] = datasets.batched(given["x"], batch_size)
            elif spec is not None:
                batch_size = target.pick(spec, self.target).shape[0] or batch_size
            sampler = self._sampler(batch_size)
            # Folded, so that counting up from it, batch by batch, meets no other call's seeds.
            (seed,) = self._seeds(seed, "importance")
            sampler.restart(num_samples, seed)
            return sampler.predict(given["x"], batch_size=batch_size, verbose=verbose)

    def get_metrics_result(self):
        """What the metrics say; and what the likelihood has learned beside the network, as it stands, such as sigma."""
        layers = [layer for layer in self.decoder._flatten_layers() if hasattr(layer, "learned")]
        parts = {id(part) for layer in layers for part in layer._flatten_layers(include_self=False)}
        learned = {}
        for layer in layers:
            if id(layer) not in parts:  # a part's are its whole's, by name
                learned.update(layer.learned())
        return {**super().get_metrics_result(), **learned}

    def build_for(self, spec):
        """Builds the model for x of these shapes and dtypes, a `KerasTensor` or a structure of them."""
        self._untracked.x_dtypes = keras.tree.map_structure(lambda part: part.dtype, spec)
        self.build(keras.tree.map_structure(lambda part: (None, *part.shape[1:]), spec))

    def build(self, input_shape):
        x = keras.tree.map_shape_structure(lambda shape: keras.KerasTensor((None, *shape[1:])), input_shape)
        if self._untracked.x_dtypes is not None:
            x = keras.tree.map_structure(lambda p, d: keras.KerasTensor(p.shape, d), x, self._untracked.x_dtypes)
        self._untracked.x_spec = x
        try:
            # A symbolic pass through `call` creates every weight, and raises every error of shape.
            with self.distribute_strategy.scope():
                super().compute_output_spec(x)
        except Exception as error:
            # Keras, in its `except`, buries the message in advice to implement `compute_output_spec`.
            raise (error.__context__ or error) from None

    def get_build_config(self):
        # Keras's is of shapes alone.
        config = super().get_build_config()
        return config and {**config, "dtypes": self._untracked.x_dtypes}

    def build_from_config(self, config):
        config = dict(config or {})
        self._untracked.x_dtypes = config.pop("dtypes", None)
        super().build_from_config(config)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        random_state.save(self, self.counter, store)

    def load_own_variables(self, store):
        super().load_own_variables(random_state.load(self, self.counter, store))

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        # Twice: Keras marks an object that has two places at its second sight, and loses the mark of its first.
        for _ in range(2):
            parts = {part: serialize(getattr(self, part)) for part in ("encoder", "decoder", "prior", "objective")}
        return {
            **super().get_config(),
            "version": __version__,
            **parts,
            "target": self.target,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        check_not_newer(config.get("name"), config.pop("version", None))
        deserialize = functools.partial(keras.saving.deserialize_keras_object, custom_objects=custom_objects)
        parts = {part: deserialize(config[part]) for part in ("encoder", "decoder", "prior", "objective")}
        return cls(**{**config, **parts})

    def target_of(self, x):
        """The part of x that the likelihood scores: float32, or float64 under a float64 policy."""
        part = target.pick(x, self.target)
        return keras.tree.map_structure(lambda leaf: ops.cast(ops.convert_to_tensor(leaf), self.dtype_scored), part)

    def _target_for(self, likelihood, x):
        part = self.target_of(x)
        event_shape = static_event_shape(likelihood)
        if event_shape is None:
            return part
        contract.check_event(event_shape, part)
        return keras.tree.map_structure_up_to(
            part, lambda leaf, shape: backend.with_shape(leaf, (None, *shape)), part, event_shape
        )

    def _prior_for(self, posterior):
        """The prior's distribution, built for the posterior's event."""
        if not self.prior.built:
            self.prior.build(tuple(posterior.event_shape))
        prior = self.prior()
        contract.check_prior(posterior, prior)
        return prior

    def _sampler(self, batch_size):
        """The importance sampler for batches of this size: made, and compiled, once."""
        block = draws_at_once(batch_size)
        jit_compile = self.jit_compile if self.compiled else backend.xla_choice(self._flatten_layers())[0]
        samplers = self._untracked.samplers
        if (block, jit_compile) not in samplers:
            with self.distribute_strategy.scope():
                samplers[block, jit_compile] = ImportanceSampler(self, block)
            samplers[block, jit_compile].jit_compile = jit_compile
        return samplers[block, jit_compile]

    def _seeds(self, seed, *purposes):
        seed = backend.stateless_seed(self.seed_generator if seed is None else seed)
        return [backend.seed_for(seed, purpose) for purpose in purposes]


def static_event_shape(distribution):
    """The event shape as a tuple, or a dictionary of them; None where even its rank is unknown while tracing."""
    if isinstance(distribution.event_shape, dict):
        return {name: tuple(shape) for name, shape in distribution.event_shape.items()}
    return None if distribution.event_shape.rank is None else tuple(distribution.event_shape)
