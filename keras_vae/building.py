"""What a model learns of x before it is trained: shapes and dtypes, what can be scored, and that its parts fit."""

import dataclasses
import inspect
from typing import Any

import keras
from keras import ops

from keras_vae import backend, compat
from keras_vae.data import contract, kinds
from keras_vae.data.intake import as_tensors
from keras_vae.data.parts import asked_for, lacks_target, pick, replace
from keras_vae.layers.fitted import fitted
from keras_vae.layers.likelihood_layer import likelihood_layers
from keras_vae.objectives.forward_pass import OF_PARTS
from keras_vae.objectives.term_names import check_name


@dataclasses.dataclass
class Known:
    """What a model knows of x, where Keras neither tracks it nor puts its own dictionaries in place.

    Attributes:
        x_spec, x_dtypes: shapes and dtypes of x, in its structure.
        support, event_shape: of what is scored.
        reported: names of what is reported beside the objective's terms.
        kl: how the KL is found, in words.
        num_examples: how many examples `fit` was last given, where it knew.
        late: the numbers of the layers that are not built by x alone.
        is_adapted: whether the model was started at the data's moments.
    """

    x_spec: Any = None
    x_dtypes: Any = None
    support: Any = None
    event_shape: Any = None
    reported: list | None = None
    kl: str | None = None
    num_examples: int | None = None
    late: tuple = ()
    is_adapted: bool = False


class BuiltFromData(compat.Model):
    """A model with an encoder, a prior, a decoder and an objective that is built by the first x that it meets.

    A subclass brings these; `encode`, `decode`, `forward_pass` and `call`; and a `seed_generator` of its noise.

    Args:
        target: which part of x is scored: see `keras_vae.data.parts.pick`.
    """

    def __init__(self, target=None, **kwargs):
        # Under mixed precision Keras would round x itself; the networks cast what they take in.
        super().__init__(autocast=False, **kwargs)
        self.target = target
        # Where Keras does not track them, nor puts its own dictionaries in place.
        self.known = Known()

    @property
    def x_spec(self):
        """What x is: a `KerasTensor`, or a structure of them, of unknown batch size; None until built."""
        return self.known.x_spec

    @property
    def support(self):
        """What p(x|z) can score, a `keras_vae.layers.Support` or a dictionary of them; None where it does not say."""
        return self.known.support

    @property
    def event_shape(self):
        """The shape of one x that is scored, or a dictionary of them; None until built."""
        return self.known.event_shape

    @property
    def dtype_scored(self):
        """float32, or float64 under a float64 policy: of what is scored, whatever the networks compute in."""
        return keras.backend.result_type(self.compute_dtype, "float32")

    def __call__(self, x, *args, **kwargs):
        if not self.built and (spec := kinds.spec_of(x)) is not None:
            self.build_for(spec)
        return super().__call__(x, *args, **kwargs)

    def build_for(self, spec):
        """Builds the model for x of these shapes and dtypes, a `KerasTensor` or a structure of them."""
        self.known.x_dtypes = keras.tree.map_structure(lambda part: part.dtype, spec)
        self.build(keras.tree.map_structure(lambda part: (None, *part.shape[1:]), spec))

    def build(self, input_shape):
        x = keras.tree.map_shape_structure(lambda shape: keras.KerasTensor((None, *shape[1:])), input_shape)
        if self.known.x_dtypes is not None:
            x = keras.tree.map_structure(lambda p, d: keras.KerasTensor(p.shape, d), x, self.known.x_dtypes)
        self.known.x_spec = x
        # Symbolic passes create every weight, and raise every error of shape.
        try:
            self._check_event_shape(x)
            self.build_objective()
            with self.distribute_strategy.scope(), backend.specifying():
                compat.symbolically(self._check_parts, x)
                compat.symbolically(self._note_reported, x)
                settle_normalizations(compat.layers_of(self))
            learned = dict.fromkeys(self.learned_values(), "what it has learned")
            for name in self.objective.term_weights:
                check_name(self.objective, name, learned)
        except Exception:
            self.known = Known()  # of x that does not fit nothing is known
            raise
        self.known.late = tuple(index for index, layer in enumerate(self.layers) if not layer.built)
        self.built = True

    def _check_event_shape(self, x):
        """Compares x with what the decoder's last layer says: first, so that an x that does not fit builds nothing."""
        last = likelihood_layers(self.decoder)[-1:]
        event_shape = last and getattr(last[0], "event_shape", None)
        if event_shape:
            contract.check_event(event_shape, pick(x, self.target))

    def _note_reported(self, x):
        """A pass through `call`, which says what it reports beside the objective's terms."""
        found = self.call(x)
        names = found if isinstance(found, dict) else ()
        self.known.reported = [name for name in names if name.startswith(OF_PARTS)]

    def learned_values(self):
        """What objective and likelihood have learned beside networks, such as sigma: `{name: number}`."""
        found = dict(self.objective.learned_values())
        for layer in likelihood_layers(self.decoder):
            found.update(layer.learned_values())
        return found

    def build_objective(self):
        """Makes what the objective holds in variables."""
        if not self.objective.built:
            with self.distribute_strategy.scope():
                self.objective.build(self.dtype_scored)

    def _check_parts(self, x):
        """A pass through the parts, one after another, to see that each gives what the next one takes.

        A subclass whose `encode` or `decode` takes more than x or z sees to that itself.
        """
        if not (takes_one(self.encode) and takes_one(self.decode)):
            return
        with contract.naming_parts(self.encoder, x):
            posterior = self.encode(x, training=True)
        contract.check_distribution("encoder", posterior)
        contract.check_reparameterized(posterior)
        if not self.prior.built:
            self.prior.build(tuple(posterior.event_shape))
        prior = contract.check_prior(posterior, self.prior())
        self.known.kl = "closed form" if self.objective.has_closed_kl(posterior, prior) else "by draws"
        z = self.objective.draw(posterior, backend.stateless_seed(0))
        likelihood = contract.check_distribution("decoder", self.decode(z[0], training=True))
        self.known.support = getattr(likelihood, "support", None)
        self.known.event_shape = static_event_shape(likelihood)
        target = self.target_of(x)
        contract.check_fits(compat.layers_of(self.decoder), fitted(likelihood, target)[1])
        contract.check_terms(self.objective, self.objective(self.forward_pass(x, backend.stateless_seed(0), True)))

    def target_of(self, x):
        """The part of x that the likelihood scores: float32, or float64 under a float64 policy.

        Raises:
            ValueError: it has another shape than the decoder's event.
        """
        part = pick(x, self.target)
        part = keras.tree.map_structure(lambda leaf: ops.cast(ops.convert_to_tensor(leaf), self.dtype_scored), part)
        if self.event_shape is None:
            return part
        contract.check_event(self.event_shape, part)
        return keras.tree.map_structure_up_to(
            part, lambda leaf, shape: backend.with_shape(leaf, (None, *shape)), part, self.event_shape
        )

    def seen_of(self, x):
        """What the encoder sees of x: tensors, of which the scored part has the dtype in which it is scored."""
        if kinds.is_stream(x):
            raise ValueError(
                f"Expected x to be arrays, all of which pass at once; received a {type(x).__name__}. For data batch by "
                "batch there are vae.transform(x), the posterior's means, and vae.predict(x)['reconstruction']."
            )
        x = as_tensors(x, self.target)
        if not self.built and backend.runs_eagerly() and (spec := kinds.spec_of(x)) is not None:
            self.build_for(spec)
        if not lacks_target(x, self.target):
            x = replace(x, self.target_of(x), self.target)
        return asked_for(self.encoder, x)

    def seeds(self, seed, *purposes):
        """A seed for each purpose in `keras_vae.backend.STREAMS`: from an integer, or else the model's own next one."""
        seed = backend.stateless_seed(self.seed_generator if seed is None else seed)
        return [backend.seed_for(seed, purpose) for purpose in purposes]


def settle_normalizations(layers):
    """Makes the mean and variance of each `Normalization` anew.

    They are no variables, and those made in a symbolic pass cannot be used outside of it.
    """
    for layer in layers:
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            if layer.input_mean is None:
                layer.finalize_state()
            else:
                layer.build(layer.get_build_config()["input_shape"])


def takes_one(method):
    """Whether a method can be called with one argument, and `training`."""
    try:
        inspect.signature(method).bind(None, training=True)
    except TypeError:
        return False
    return True


def static_event_shape(distribution):
    """The event shape as a tuple, or a dictionary of them; None where even its rank is unknown while tracing."""
    if isinstance(distribution.event_shape, dict):
        return {name: tuple(shape) for name, shape in distribution.event_shape.items()}
    return None if distribution.event_shape.rank is None else tuple(distribution.event_shape)
