"""What only looks at a model leaves it as it is: properties, which Keras evaluates when it saves, and scores."""

import contextlib

import checks
import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES
from small import digits, gaussian_vae

import keras_vae
from keras_vae import layers, scales

X = digits()[:32]


def ours(value):
    """The properties of an object whose classes are this library's, by name."""
    found = {}
    for cls in type(value).__mro__:
        if cls.__module__.startswith("keras_vae"):
            found.update({name: each for name, each in vars(cls).items() if isinstance(each, property)})
    return found


def fitted_vae():
    vae = gaussian_vae(units=4, scale=scales.Optimal())
    vae.compile("sgd", jit_compile=False)
    vae.fit(X, verbose=0)
    return vae


def test_the_properties_of_a_model_are_these():
    """Keras's saving walks `dir(model)` and evaluates each: on one worker alone, say. Each is named here on purpose."""
    assert set(ours(fitted_vae())) == {
        *("compilation", "dtype_scored", "event_shape", "has_standard_steps", "iteration", "steps_per_execution"),
        *("support", "x_spec"),
    }


def everything_saved():
    """A trained model and every layer of it, and a layer of every family."""
    vae = fitted_vae()
    yield from keras_vae.compat.layers_of(vae)
    for case in CASES:
        layer = case.make()
        layer.build((None, *case.features))
        yield from keras_vae.compat.layers_of(layer)
    yield layers.Joint({"a": layers.Masked(layers.IndependentNormal(2))})


def test_no_property_computes_synchronises_or_writes():
    for value in everything_saved():
        with tf.Graph().as_default() as graph:  # where reading a variable is an operation, too
            for name in ours(value):
                getattr(value, name)
        assert not graph.get_operations(), f"{type(value).__name__}: {[each.name for each in graph.get_operations()]}"


def state_of(vae):
    return [np.array(variable) for variable in vae.variables]


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_batch_that_is_scored_twice_counts_once(jit_compile):
    """`Optimal()`'s average moves once a step, however often an objective scores the batch."""

    class Twice(keras_vae.objectives.ELBO):
        def __call__(self, forward):
            once = super().__call__(forward)
            again = super().__call__(forward)
            return {name: 0.5 * (value + again[name]) for name, value in once.items()}

    found = []
    for objective in (keras_vae.objectives.ELBO(), Twice()):
        vae = gaussian_vae(units=4, scale=scales.Optimal(), objective=objective)
        vae.compile(keras.optimizers.SGD(1e-3), jit_compile=jit_compile)
        vae.fit(X, batch_size=16, epochs=2, shuffle=False, verbose=0)
        found.append(vae.decoder.layers[-1].scale.get_weights())
    for once, twice in zip(*found, strict=True):
        np.testing.assert_allclose(twice, once, rtol=1e-6)
    assert found[0][1] == pytest.approx(1 - 0.95**4, rel=1e-5)  # the weight of four batches


def test_scoring_changes_nothing():
    vae = fitted_vae()
    before = state_of(vae)
    likelihood = vae.decoder(np.zeros((32, 3), "float32"), training=True)
    first = likelihood.log_prob(X)
    np.testing.assert_array_equal(likelihood.log_prob(X), first)
    vae.encode(X)
    vae.decode(np.zeros((2, 3), "float32"))
    vae.reconstruct(X)
    vae.generate(2, seed=0)
    for old, new in zip(before, state_of(vae), strict=True):
        np.testing.assert_array_equal(old, new)


def test_decoding_sets_nothing():
    vae = fitted_vae()
    before = dict(vars(vae)), dict(vars(vae.known))
    vae.decode(np.zeros((2, 5, 3), "float32"))
    assert (dict(vars(vae)), dict(vars(vae.known))) == before


def test_losses_that_a_pass_added_stay_until_the_next_pass():
    vae = fitted_vae()
    vae(X, training=True)
    before = [float(loss) for loss in vae.losses]
    vae.encode(X)
    vae.generate(2)
    assert [float(loss) for loss in vae.losses] == before and len(before) == 2


def test_latents_of_any_number_of_axes_are_decoded_by_one_program():
    vae = fitted_vae()
    z = np.random.default_rng(0).normal(size=(4, 3, 2, 3)).astype("float32")
    for shape in ((24, 3), (4, 6, 3), (3, 8, 3), (4, 3, 2, 3)):
        likelihood = vae.decode(z.reshape(shape))
        assert tuple(likelihood.batch_shape) == shape[:-1]
        expected = vae.decode(z.reshape(24, 3)).mean().numpy()
        np.testing.assert_allclose(likelihood.mean().numpy().reshape(expected.shape), expected, rtol=1e-5)
    assert len(vae.engine.queries) == 1


class Classifier(keras.Model):
    """A VAE, and a head on its latents that is trained beside it."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae
        self.mean = layers.Mean()
        self.head = keras.layers.Dense(2, "softmax")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in ("nll", "kl")}

    def call(self, x, training=None):
        terms = self.vae(x, training=training)
        for name, tracker in self.trackers.items():
            tracker.update_state(terms[name])
        return self.head(self.mean(self.vae.encode(x)))


class ToOne(keras.optimizers.schedules.LearningRateSchedule):
    """0 at first, and then 1."""

    def __call__(self, step):
        return keras.ops.cast(step > 0, "float32")

    def get_config(self):
        return {}


def test_inside_a_larger_model_a_schedule_goes_by_that_model_s_optimizer():
    objective = keras_vae.objectives.ELBO(beta=ToOne())
    model = Classifier(gaussian_vae(units=4, objective=objective))
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", jit_compile=False)
    first, second = {}, {}
    for logs in (first, second):
        model.reset_metrics()
        logs.update(model.train_on_batch(X, np.arange(32) % 2, return_dict=True))
    assert first["kl"] > 0.01
    cross_entropy = first["loss"] - first["nll"]
    np.testing.assert_allclose(second["loss"] - second["nll"], cross_entropy + second["kl"], atol=1e-4)


def test_inside_a_subclassed_model_it_adds_its_losses_to_that_model_s():
    labels = np.arange(32) % 2
    keras.utils.set_random_seed(0)
    model = Classifier(gaussian_vae(units=4))
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    history = model.fit(X, labels, epochs=8, verbose=0).history
    assert history["nll"][-1] < history["nll"][0]
    # Of the first epoch: a cross-entropy of two classes, near log 2, and the two terms.
    cross_entropy = history["loss"][0] - history["nll"][0] - history["kl"][0]
    assert 0.3 < cross_entropy < 1.5
    weights = [np.array(weight) for weight in model.trainable_variables]
    model.fit(X, labels, verbose=0)
    assert all((old != np.array(new)).any() for old, new in zip(weights, model.trainable_variables, strict=True))


def test_inside_a_functional_model_it_adds_its_losses_to_that_model_s():
    keras.utils.set_random_seed(0)
    vae = gaussian_vae(units=4)
    inputs = keras.Input((8, 8, 1))
    outputs = vae(inputs)
    model = keras.Model(
        inputs, [keras.layers.Dense(1)(keras.layers.Flatten()(outputs["reconstruction"])), outputs["nll"]]
    )
    model.compile(keras.optimizers.SGD(1e-4), ["mse", None])
    x, y = X, X.mean(axis=(1, 2, 3))[:, None]
    model(x)
    nll_and_kl = sum(float(loss) for loss in model.losses)
    assert nll_and_kl == pytest.approx(float(np.mean(vae.predict(x, verbose=0)["nll"])), rel=0.1)
    history = model.fit(x, [y, np.zeros(32)], epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0] and history[0] > 30.0


class Tempered(layers.WrapperLayer):
    """A wrapper of a user's own: leaves the distribution as it is."""

    def wrap(self, distribution):
        return distribution


def test_a_wrapper_of_one_s_own_is_a_part_of_a_joint_and_a_likelihood():
    wrapped = Tempered(layers.IndependentNormal((8, 8, 1), scale=scales.Shared()))
    joint = layers.Joint({"image": wrapped, "mean": layers.IndependentNormal(())})
    inputs = {"image": keras.Input((8, 8, 1), name="image"), "mean": keras.Input((), name="mean")}
    features = keras.layers.Dense(4)(keras.layers.Flatten()(inputs["image"]))
    vae = keras_vae.VAE(keras.Model(inputs, layers.IndependentNormal(2)(features)), keras.Sequential([joint]))
    vae.compile("sgd", jit_compile=False)
    history = vae.fit({"image": X, "mean": X.mean(axis=(1, 2, 3))}, verbose=0).history
    assert "image_sigma" in history
    (found,) = layers.likelihood_layer.likelihood_layers(vae.decoder)
    assert found is joint


# Queries run as programs.


def two_inputs_vae():
    inputs = [keras.Input((8, 8, 1)), keras.Input((2,))]
    features = keras.layers.Concatenate()([keras.layers.Flatten()(inputs[0]), inputs[1]])
    hidden = keras.layers.Dense(4, activity_regularizer="l2")(features)
    encoder = keras.Model(inputs, layers.IndependentNormal(2)(hidden))
    vae = keras_vae.VAE(encoder, keras.Sequential([layers.IndependentNormal((8, 8, 1))]), seed=0)
    vae.build([(None, 8, 8, 1), (None, 2)])
    return vae


def test_lists_tuples_and_sparse_parts_are_answered_alike():
    vae, other = two_inputs_vae(), np.eye(2, dtype="float32")[np.arange(32) % 2]
    expected = vae.encode([X, other]).mean()
    for x in ((X, other), [X, tf.constant(other)]):
        np.testing.assert_array_equal(vae.encode(x).mean(), expected)
    with checks.uncompiled():
        np.testing.assert_allclose(vae.encode([X, other]).mean(), expected, rtol=1e-5)


def test_of_any_number_of_rows_the_answer_is_that_of_each_row():
    vae = fitted_vae()
    whole = vae.reconstruct(X)
    for rows in (1, 5, 32):
        np.testing.assert_allclose(vae.reconstruct(X[:rows]), whole[:rows], rtol=1e-5, atol=1e-6)
        assert vae.encode(X[:rows]).batch_shape == (rows,) and vae.decode(np.zeros((rows, 3))).batch_shape == (rows,)
    assert vae.decode(np.zeros((2, 5, 3), "float32")).batch_shape == (2, 5)
    assert len(vae.engine.queries) <= 5


def test_gradients_pass_through_a_query():
    vae = fitted_vae()
    z = tf.Variable(np.ones((2, 3), "float32"))
    gradients = []
    for context in (contextlib.nullcontext(), checks.uncompiled()):
        with context, tf.GradientTape() as tape:
            value = tf.reduce_sum(vae.decode(z).mean())
        gradients.append(tape.gradient(value, z))
    np.testing.assert_allclose(*gradients, rtol=1e-5)
    assert np.abs(gradients[0]).max() > 0


def test_weights_that_change_are_seen():
    vae, other = fitted_vae(), gaussian_vae(units=4, seed=5, scale=scales.Optimal())
    other.build((None, 8, 8, 1))
    z = np.ones((2, 3), "float32")
    before = vae.decode(z).mean().numpy()
    vae.decoder.set_weights(other.decoder.get_weights())
    assert (before != vae.decode(z).mean().numpy()).any()
    np.testing.assert_allclose(vae.decode(z).mean(), other.decode(z).mean(), rtol=1e-6)


def test_within_another_model_s_call_a_query_trains_as_the_call_does_and_leaves_its_losses():
    vae = two_inputs_vae()

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.vae = vae

        def call(self, x, training=None):
            return self.vae.encode(x).mean()

    outer, x = Outer(), [X, np.zeros((32, 2), "float32")]
    outer(x, training=True)
    assert len(outer.losses) == 1 and float(outer.losses[0]) > 0  # the regularizer's
    vae.encode(x)
    vae(x)
    assert all(np.isfinite(float(loss)) for loss in vae.losses)


def test_seeds_are_kept_apart_and_repeat():
    vae = fitted_vae()
    one, same, other = (vae.generate(3, seed=seed).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and (vae.generate(3).numpy() != vae.generate(3).numpy()).any()


class Scaled(layers.WrapperLayer):
    """A wrapper around whose distribution nobody sees."""

    def wrap(self, distribution):
        return keras_vae.backend.tfp.distributions.TransformedDistribution(
            distribution, keras_vae.backend.tfp.bijectors.Scale(2.0)
        )


def test_a_fitted_sigma_that_a_wrapper_hides_is_refused():
    wrapped = Scaled(layers.IndependentNormal(3, scale=scales.Optimal()))
    vae = keras_vae.VAE(keras.Sequential([layers.IndependentNormal(2)]), keras.Sequential([wrapped]))
    with pytest.raises(
        ValueError, match=r"to say what Optimal\(\) of the layer .* is fitted to.*Define `fitted_to\(x\)`"
    ):
        vae.build((None, 3))


def test_a_subclass_may_decode_with_more_than_z():
    class Shifted(keras_vae.VAE):
        def decode(self, z, shift, training=None):
            return super().decode(z + shift, training=training)

        def forward_pass(self, x, seed, training=None):
            posterior = self.encode(x, training=training)
            z = posterior.sample(1, seed=seed)
            return keras_vae.objectives.ForwardPass(
                self.target_of(x), posterior, z, self.decode(z, 1.0, training=training), self.prior()
            )

    like = gaussian_vae(units=4)
    vae = Shifted(like.encoder, like.decoder, prior=keras_vae.priors.StandardNormal(3), seed=0)
    vae.compile("sgd", jit_compile=False)
    assert np.isfinite(vae.fit(X, verbose=0).history["loss"]).all()
