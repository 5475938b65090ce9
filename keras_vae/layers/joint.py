"""A likelihood for each part of x, such as the mixed columns of a table, or an image and its label."""

import math

import keras

from keras_vae import compat
from keras_vae.backend import tfd, tfp
from keras_vae.estimates import probabilities_of
from keras_vae.layers.delegate import Delegate
from keras_vae.layers.elements import log_prob_of_elements
from keras_vae.layers.fitted import fitted
from keras_vae.layers.likelihood_layer import LikelihoodLayer


class JointDistribution(Delegate):
    """A distribution of independent parts, by name: x is a dictionary of them.

    (`tfd.JointDistributionNamed` traces each part again for each method, and knows no batch shape while it does.)

    Args:
        parts: a dictionary of distributions of one batch shape.
    """

    def __init__(self, parts, name="JointDistribution"):
        parameters = dict(locals())
        self._parts = compat.untracked(self, dict(parts))
        dtype = {name: part.dtype for name, part in parts.items()}
        first = next(iter(parts.values()))  # whose batch shape is that of all
        super().__init__(first, parameters, name, tfd.NOT_REPARAMETERIZED, dtype)

    @property
    def parts(self):
        """The distributions, by name."""
        return self._parts

    @property
    def distribution(self):
        """None: questions are passed on to several distributions, which are `parts`."""
        raise AttributeError(
            f"JointDistribution: expected one of its `parts`, {list(self.parts)}, to be asked for; it has no "
            "`distribution` that stands for all"
        )

    @property
    def support(self):
        """The values of each part that are scored, by name: a `Support`, or None where that is not known."""
        return self.ask(lambda part: getattr(part, "support", None))

    def probabilities(self):
        """The probabilities of the parts that are of categories, by name."""
        return {name: found for name, found in self.ask(probabilities_of).items() if found is not None}

    def ask(self, question):
        return {name: question(part) for name, part in self._parts.items()}

    def of_batch(self, answer, sample_shape=()):
        return sum(answer.values())

    def fitted_to(self, x):
        found = {name: fitted(part, x[name]) for name, part in self._parts.items()}
        parts = {name: part for name, (part, _) in found.items()}
        return JointDistribution(parts), [fit for _, fits in found.values() for fit in fits]

    def log_prob_by_part(self, x):
        """log p of each part of x, by name, `[*batch]` each."""
        return {name: part.log_prob(x[name]) for name, part in self._parts.items()}

    def log_prob_of_elements(self, x):
        """log p of each element of each part, by name, `[..., *batch, *event]` each."""
        return {name: log_prob_of_elements(part, x[name]) for name, part in self._parts.items()}

    def _log_prob(self, x):
        return self.of_batch(self.log_prob_by_part(x))

    def _sample_n(self, n, seed=None):
        seeds = tfp.random.split_seed(seed, n=len(self._parts))
        return {name: part.sample(n, seed=seed) for seed, (name, part) in zip(seeds, self._parts.items(), strict=True)}


@keras.saving.register_keras_serializable("keras_vae")
class Joint(LikelihoodLayer):
    """A likelihood for each named part of x, independent given the features.

        log p(x) = sum_k log p_k(x_k)

    It is for data that is a dictionary, `{"age": [B], "image": [B, 28, 28, 1]}`. Each part is scored in nats by its own
    family. Nothing else weighs the parts against each other. While a VAE trains, and from `evaluate`, each part's share
    of the metric `nll` is one by its name: `nll/age`, `nll/image`. They are never weighted but by sample weights.
    `predict` has them for each example.

        parts = {"age": keras_vae.layers.IndependentNormal(1), "smokes": keras_vae.layers.IndependentBernoulli(1)}
        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.Joint(parts)])
        decoder(np.zeros((2, 4))).mean()  # {"age": [2, 1], "smokes": [2, 1]}

    Args:
        likelihoods: a dictionary of distribution layers, with the keys of x. Each projects the same features.

    Returns:
        When called on `[B, *features]`: a distribution of batch `[B]`, whose draws and moments are dictionaries.

    Raises:
        ValueError: `likelihoods` is no dictionary of distribution layers, or empty.
    """

    def __init__(self, likelihoods, **kwargs):
        super().__init__(**kwargs)
        is_dictionary = isinstance(likelihoods, dict) and likelihoods
        if not is_dictionary or not all(is_of_one_part(layer) for layer in likelihoods.values()):
            raise ValueError(
                "Joint: expected `likelihoods` to be a dictionary of distribution layers, such as {'age': "
                f"keras_vae.layers.IndependentNormal(())}}, none a Joint itself; received: {likelihoods!r}"
            )
        self.likelihoods = dict(likelihoods)

    def build(self, input_shape):
        for layer in self.likelihoods.values():
            if not layer.built:
                layer.build(input_shape)

    @property
    def event_shape(self):
        """The shape of each part of one draw, by name."""
        return {name: layer.event_shape for name, layer in self.likelihoods.items()}

    @property
    def counted_levels(self):
        """How many levels each part must know the numbers of, by name."""
        return {name: layer.counted_levels for name, layer in self.likelihoods.items()}

    def start_at(self, moments):
        for name, layer in self.likelihoods.items():
            layer.start_at(moments[name])

    def learned_values(self):
        """What the parts have learned, by part and name: `{"age_sigma": 0.3}`."""
        return {
            f"{name}_{key}": value
            for name, layer in self.likelihoods.items()
            for key, value in layer.learned_values().items()
        }

    def compute_output_shape(self, input_shape):
        if not self.built:
            self.build(input_shape)
        # A network's output is one object, and so must be what stands for it: all parts side by side.
        return (input_shape[0], sum(math.prod(layer.event_shape) for layer in self.likelihoods.values()))

    def call(self, features, training=None):
        return JointDistribution({name: layer(features, training=training) for name, layer in self.likelihoods.items()})

    def get_config(self):
        likelihoods = {name: keras.saving.serialize_keras_object(layer) for name, layer in self.likelihoods.items()}
        return {**super().get_config(), "likelihoods": likelihoods}

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        likelihoods = {name: deserialize(layer) for name, layer in config["likelihoods"].items()}
        return cls(**{**config, "likelihoods": likelihoods})


def is_of_one_part(layer):
    """Whether a layer's distribution is one of single events, and not of a dictionary of them."""
    return isinstance(layer, LikelihoodLayer) and not isinstance(getattr(layer, "event_shape", None), dict)
