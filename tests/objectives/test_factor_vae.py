"""FactorVAE: two losses on weights of their own, one backward pass, and a total correlation that is known."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from checks import dtype_policy
from keras import layers, ops
from resumed import state_of
from saved import normal_vae, normals, reload, vae_of
from small import digits, gaussian_vae
from variants import fast_for

import keras_vae
from keras_vae import objectives, scales
from keras_vae.backend import seed_for
from keras_vae.objectives.disentangled.permute import permute
from keras_vae.optimizers import Routed

X = digits()[:48]
WEIGHTS = np.random.default_rng(0).uniform(0.0, 2.0, size=48).astype("float32")
WEIGHTS[::5] = 0.0
SEED = np.array([3, 4], "int32")


def small(outputs=2, between=()):
    return keras.Sequential([layers.Dense(16), layers.LeakyReLU(0.2), *between, layers.Dense(outputs)])


def made(discriminator=None, optimizer=None, compiled=None, **kwargs):
    """A built VAE of digits, compiled with an optimizer for the discriminator."""
    build = functools.partial(gaussian_vae, units=8)
    keras.utils.set_random_seed(1)
    network = discriminator() if discriminator else small()
    vae = build(objective=objectives.FactorVAE(**{"gamma": 5.0, "discriminator": network, **kwargs}))
    vae.build((None, 8, 8, 1))
    optimizer = keras.optimizers.Adam(1e-2) if optimizer is None else optimizer
    vae.compile(
        Routed(optimizer, {vae.objective: keras.optimizers.Adam(1e-3, beta_1=0.5)}),
        **(compiled or {"jit_compile": False}),
    )
    return vae


def fit(vae, **kwargs):
    return vae.fit(X, **{"batch_size": 16, "epochs": 2, "verbose": 0, **kwargs}).history


def parts(vae):
    """The weights that are trained: of encoder and decoder, and of the discriminator."""
    return [*vae.encoder.trainable_variables, *vae.decoder.trainable_variables], vae.objective.trainable_variables


def pass_of(vae, x=X, weights=None):
    forward = vae.forward_pass(x, SEED, training=True)
    return forward if weights is None else forward.__class__(**{**vars(forward), "sample_weight": weights})


# The two losses.


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("num_samples", [1, 3])
def test_each_loss_reaches_its_own_weights_and_no_other(outputs, num_samples):
    """The encoder's gradient is that of autodiff through a discriminator whose weights are left out."""
    vae = made(functools.partial(small, outputs), num_samples=num_samples)
    (networks, own), encoder = parts(vae), vae.encoder.trainable_variables
    values = [each.value for each in (*networks, *own)]
    with tf.GradientTape(persistent=True) as tape:
        forward = pass_of(vae)
        terms = vae.objective(forward)
        correlation, entropy = (ops.mean(terms[name]) for name in ("total_correlation", "discriminator"))
        logits = vae.objective.discriminator(ops.reshape(forward.z, (-1, 3)))
        plain = ops.mean(logits[:, 0] - logits[:, 1] if outputs == 2 else logits[:, 0])
    np.testing.assert_allclose(correlation, plain, rtol=1e-5)
    of_correlation, of_entropy = tape.gradient(correlation, values), tape.gradient(entropy, values)
    assert all(each is None for each in (*of_correlation[len(networks) :], *of_entropy[: len(networks)]))
    assert all(each is None for each in of_correlation[len(encoder) : len(networks)])  # no decoder's
    assert all(np.abs(each).max() > 0 for each in (*of_correlation[: len(encoder)], *of_entropy[len(networks) :]))
    expected = tape.gradient(plain, values[: len(encoder)])
    for one, other in zip(of_correlation, expected, strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def test_a_step_of_fit_is_a_step_of_two_optimizers_by_hand():
    """As the paper's algorithm 2 has it, of one batch: two gradients, two optimizers, Keras's cross entropies."""
    vae, hand = made(), made()
    before = [np.asarray(each) for each in hand.trainable_variables]
    for one, other in zip(vae.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(one, other)
    vae.fit(X, batch_size=48, shuffle=False, verbose=0)
    networks, own = parts(hand)
    discriminator, seed = hand.objective.discriminator, hand.noise.next_seed(True)
    with tf.GradientTape(persistent=True) as tape:
        forward = hand.forward_pass(X, seed, training=True)
        z = forward.z[0]
        logits = discriminator(z)
        loss = ops.mean(forward.nll + forward.kl) + 5.0 * ops.mean(logits[:, 0] - logits[:, 1])
        others = permute(forward.z, forward.noise_seed)[0]
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        real, permuted = (discriminator(tf.stop_gradient(each)) for each in (z, others))
        adversary = 0.5 * (entropy(np.zeros(48), real) + entropy(np.ones(48), permuted))
    gradients = [tape.gradient(loss, [v.value for v in networks]), tape.gradient(adversary, [v.value for v in own])]
    keras.optimizers.Adam(1e-2).apply(gradients[0], networks)
    keras.optimizers.Adam(1e-3, beta_1=0.5).apply(gradients[1], own)
    for one, other, start in zip(vae.trainable_variables, hand.trainable_variables, before, strict=True):
        assert np.abs(np.asarray(one) - start).max() > 1e-4
        np.testing.assert_allclose(one, other, atol=2e-6, err_msg=one.path)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_a_trained_discriminator_finds_the_total_correlation_of_a_gaussian(correlation):
    """Within 0.05 nats of -1/2 log det of the correlations, at 20,000 fresh examples; the networks stay as they are."""
    random = np.random.default_rng(0)
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    x, fresh = (random.multivariate_normal([0.0, 0.0], covariance, num).astype("float32") for num in (8000, 20000))
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras_vae.layers.IndependentNormal(2, scale=scales.Fixed(0.1))])
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal(2, scale=scales.Fixed(1.0))])
    network = keras.Sequential([layers.Dense(32, "relu"), layers.Dense(32, "relu"), layers.Dense(2)])
    vae = keras_vae.VAE(encoder, decoder, objective=objectives.FactorVAE(discriminator=network), seed=0)
    vae.build((None, 2))
    vae.encoder.set_weights([np.eye(2), np.zeros(2)])
    vae.encoder.trainable = vae.decoder.trainable = False
    vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 20 * 16)))
    vae.fit(x, batch_size=500, epochs=20, verbose=0)
    covariance += 0.01 * np.eye(2)
    scale = np.sqrt(np.diag(covariance))
    known = -0.5 * np.log(np.linalg.det(covariance / np.outer(scale, scale)))
    found = vae.evaluate(fresh, batch_size=5000, verbose=0, return_dict=True)
    assert found["total_correlation"] == pytest.approx(known, abs=0.05)
    assert correlation == 0.0 or found["discriminator"] < np.log(2.0) - 0.05
    np.testing.assert_array_equal(vae.encoder.get_weights()[0], np.eye(2))


# What is permuted.


def test_each_unit_is_permuted_by_itself():
    z = np.random.default_rng(0).normal(size=(2, 50, 3)).astype("float32")
    permuted = np.asarray(permute(z, SEED))
    np.testing.assert_array_equal(np.sort(permuted, axis=1), np.sort(z, axis=1))
    orders = [np.argsort(np.argsort(permuted[s, :, d])) for s in range(2) for d in range(3)]
    assert len({tuple(order) for order in orders}) == 6
    assert not np.array_equal(permuted, permute(z, seed_for(SEED, "prior")))
    np.testing.assert_array_equal(permuted, permute(z, SEED, np.full(50, 0.7, "float32")))  # where all weigh alike


def test_units_are_drawn_in_proportion_to_the_weights():
    """Each as often as its weight has it, but for less than one; so one of weight 0 never."""
    weights = WEIGHTS.copy()
    weights[-1] = 0.0
    z = np.tile(np.arange(48, dtype="float32")[None, :, None], (400, 1, 2))
    drawn = np.asarray(permute(z, SEED, weights)).astype(int)
    counts = np.stack([np.bincount(drawn[s, :, d], minlength=48) for s in range(400) for d in range(2)])
    expected = 48 * weights / weights.sum()
    assert np.abs(counts - expected).max() < 1.001
    # A count's standard deviation is at most 1/2, of 800 draws: 6 standard errors, false alarms 1e-7.
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=6 * 0.5 / np.sqrt(800))
    assert np.isfinite(permute(z, SEED, np.zeros(48, "float32"))).all()


def test_an_example_of_weight_0_counts_for_nothing():
    """Whatever it is, the loss and every gradient are the same."""
    found = []
    for filled in (0.0, 7.0):
        vae = made()
        x = X.copy()
        x[WEIGHTS == 0.0] = filled
        values = [each.value for each in vae.trainable_variables]
        with tf.GradientTape() as tape:
            terms = vae.objective(pass_of(vae, x, WEIGHTS))
            loss = ops.mean(WEIGHTS * (terms["total_correlation"] + terms["discriminator"]))
        found.append([loss, *tape.gradient(loss, values, unconnected_gradients="zero")])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


# Every way to run.


@pytest.mark.parametrize("how", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_blocks_train_as_keras_does(how):
    """With a batch's statistics in the discriminator, and weighted. Dropout's noise is another under XLA."""
    curves = []
    for compiled in ({"jit_compile": False}, how):
        dropout = [] if "jit_compile" in how else [layers.Dropout(0.2, seed=5)]
        network = functools.partial(small, between=[layers.BatchNormalization(), *dropout])
        vae = made(network, compiled=compiled)
        curves.append(fit(vae, sample_weight=WEIGHTS, validation_data=(X[:20],)))
        moved = vae.objective.discriminator.layers[2].moving_mean
        assert np.abs(moved).max() > 0
    for name, curve in curves[0].items():
        np.testing.assert_allclose(curves[1][name], curve, rtol=2e-4, atol=2e-5, err_msg=name)


def test_under_mixed_precision_all_is_scaled_at_once():
    with dtype_policy("mixed_float16"):
        vae = made()
        before = [[np.asarray(each) for each in part] for part in parts(vae)]
        history = fit(vae)
    assert isinstance(vae.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.isfinite(history["loss"]).all() and int(vae.iteration) > 0
    for part, start in zip(parts(vae), before, strict=True):
        assert all(np.abs(one - other).max() > 0 for one, other in zip(map(np.asarray, part), start, strict=True))
    outputs = vae(X, training=False)
    assert outputs["total_correlation"].dtype == outputs["discriminator"].dtype == "float32"


def test_epochs_after_a_reload_are_those_that_were_to_come(tmp_path):
    whole, half = made(), made()
    expected = fit(whole, epochs=4)
    fit(half, epochs=2)
    loaded = reload(half, tmp_path)
    assert loaded.optimizer.get_config() == half.optimizer.get_config()
    for vae in (half, loaded):
        history = fit(vae, epochs=4, initial_epoch=2)
        assert history == {name: curve[2:] for name, curve in expected.items()}
        assert state_of(vae) == state_of(whole)


def test_it_goes_on_from_a_backup(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    whole, vae = made(), made()
    expected = fit(whole, epochs=4)
    backup = functools.partial(keras.callbacks.BackupAndRestore, tmp_path, delete_checkpoint=False)
    with pytest.raises(KeyboardInterrupt):
        fit(vae, epochs=4, callbacks=[backup(), Stop()])
    again = made()
    history = fit(again, epochs=4, callbacks=[backup()])
    assert history["total_correlation"] == expected["total_correlation"][-len(history["loss"]) :]
    assert state_of(again) == state_of(whole)


def test_it_trains_within_a_larger_model():
    inner = gaussian_vae(units=8, objective=objectives.FactorVAE(discriminator=small()))
    inputs = keras.Input((8, 8, 1))
    outer = keras.Model(inputs, inner(inputs)["reconstruction"])
    outer.compile(Routed("adam", {inner.objective: "sgd"}), jit_compile=False)
    before = [[np.asarray(each) for each in part] for part in parts(inner)]
    outer.fit(X, verbose=0)
    for part, start in zip(parts(inner), before, strict=True):
        assert all(np.abs(one - other).max() > 0 for one, other in zip(map(np.asarray, part), start, strict=True))


def test_callbacks_and_exports_know_nothing_of_it(tmp_path):
    vae = made()
    callbacks = [
        keras_vae.callbacks.TensorBoard(tmp_path / "logs"),
        keras_vae.callbacks.CollapseAlarm(patience=1),
        keras.callbacks.ReduceLROnPlateau("loss", min_delta=1e9, patience=1, factor=0.5),
    ]
    history = fit(vae, callbacks=callbacks)
    assert history["learning_rate"][0] == pytest.approx(1e-2)
    assert float(vae.optimizer.learning_rate) == pytest.approx(5e-3)
    assert float(vae.optimizer.others[0].learning_rate) == pytest.approx(1e-3)
    outputs = vae.predict(X, verbose=0)
    assert outputs["total_correlation"].shape == outputs["discriminator"].shape == (48,)
    vae.export(tmp_path / "served", verbose=False)
    score = tf.saved_model.load(tmp_path / "served").signatures["score"]
    scores = score(x=tf.constant(X), num_samples=tf.constant(2), seed=tf.constant(0, tf.int64))
    assert np.isfinite(scores["elbo"]).all()


def test_latents_that_are_maps_are_taken_as_vectors():
    posterior = keras_vae.layers.IndependentNormal((2, 2, 1))
    decoder = keras.Sequential([layers.Flatten(), keras_vae.layers.IndependentNormal(3)])
    encoder = keras.Sequential([layers.Dense(4), posterior])
    vae = keras_vae.VAE(encoder, decoder, objective=objectives.FactorVAE(discriminator=small()))
    vae.compile("adam", jit_compile=False)
    vae.fit(normals(8, 3), verbose=0)
    assert vae.objective.discriminator.layers[0].kernel.shape == (4, 16)


def test_the_default_discriminator_is_the_paper_s():
    network = objectives.FactorVAE().discriminator
    network.build((None, 10))
    assert [each.kernel.shape for each in network.layers if isinstance(each, layers.Dense)] == [
        (10, 1000),
        *[(1000, 1000)] * 5,
        (1000, 2),
    ]
    np.testing.assert_allclose(network.layers[1](np.array([-1.0])), [-0.2])


def test_a_gamma_that_is_set_counts_and_is_saved(tmp_path):
    vae = made(gamma=0.0)
    vae.objective.gamma = 3.0
    scores = vae.evaluate(X, verbose=0, return_dict=True)
    expected = scores["nll"] + scores["kl"] + 3.0 * scores["total_correlation"] + scores["discriminator"]
    assert scores["loss"] == pytest.approx(expected, rel=1e-5)
    assert reload(vae, tmp_path).objective.gamma == 3.0


# What is wrong.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": -1.0}, "FactorVAE: expected `gamma` to be a finite number >= 0"),
        ({"discriminator": "mlp"}, "FactorVAE: expected `discriminator` to be a Keras model of latents"),
        ({"num_samples": 0}, "FactorVAE: expected `num_samples` to be an integer >= 1"),
    ],
)
def test_what_an_argument_may_not_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        objectives.FactorVAE(**arguments)


@pytest.mark.parametrize("outputs", [3, None])
def test_a_discriminator_gives_one_or_two_numbers(outputs):
    network = small(outputs) if outputs else keras.Sequential([layers.Reshape((3, 1))])
    vae = gaussian_vae(units=8, objective=objectives.FactorVAE(discriminator=network))
    shape = r"\(None, 3\)" if outputs else r"\(None, 3, 1\)"
    with pytest.raises(ValueError, match=rf"expected `discriminator` to give logits \[N, 2\].* received shape {shape}"):
        vae.build((None, 8, 8, 1))


def test_a_single_example_to_train_on_is_refused():
    with pytest.raises(ValueError, match=r"FactorVAE: expected several examples, over .* received one"):
        made().fit(X[:1], verbose=0)
    made().evaluate(X[:1], verbose=0)


@pytest.mark.parametrize("jit_compile", fast_for(False, among=[False, True]))
def test_a_batch_of_one_is_what_it_is_whatever_came_before(jit_compile):
    """Its example permutes to itself; so the cross entropy is of one z under both labels."""
    vae = made()
    terms = vae.objective(pass_of(vae, X[:1]))
    odds = np.asarray(terms["total_correlation"])
    expected = 0.5 * (np.logaddexp(0.0, -odds) + np.logaddexp(0.0, odds))
    np.testing.assert_allclose(terms["discriminator"], expected, rtol=1e-5)
    fresh, later = made(compiled={"jit_compile": jit_compile}), made(compiled={"jit_compile": jit_compile})
    later.fit(X[:17], batch_size=8, verbose=0)  # the last one is alone
    for each in (fresh, later):
        assert np.isfinite(each.fit(X[:3], batch_size=1, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("training", [False, True])
def test_a_slope_that_is_not_finite_leaves_the_value_as_it_is(training):
    """Of a square root at 0, where autodiff has 0 times infinity, and so has this. Elsewhere the gradient is right."""
    network = lambda: keras.Sequential([layers.Lambda(lambda z: ops.sqrt(ops.relu(z))), layers.Dense(2)])  # noqa: E731
    vae = made(network)
    z = tf.constant([[[-1.0, 1.0, 4.0], [0.25, 1.0, 4.0]]])
    forward = vae.forward_pass(X[:2], SEED, training=training)
    with tf.GradientTape() as tape:
        tape.watch(z)
        found = vae.objective(dataclasses.replace(forward, z=z, tap=None))["total_correlation"]
    kernel, bias = vae.objective.discriminator.layers[-1].get_weights()
    across = kernel[:, 0] - kernel[:, 1]
    np.testing.assert_allclose(found, np.sqrt(np.maximum(z[0], 0.0)) @ across + bias[0] - bias[1], rtol=1e-5)
    if training:
        expected = [np.full(3, np.nan), across * 0.5 / np.sqrt(z[0, 1])]
        expected[0][1:] = across[1:] * 0.5 / np.sqrt(z[0, 0, 1:])
        np.testing.assert_allclose(tape.gradient(found, z)[0], expected, rtol=1e-5)


def test_another_objective_s_network_is_made_when_it_comes_and_needs_an_optimizer_that_knows_it():
    vae = made()
    fit(vae)
    vae.objective = objectives.FactorVAE(discriminator=small())
    assert vae.objective.discriminator.built
    with pytest.raises(ValueError, match=r"fit: expected a compiled model; .* You must call `compile\(\)`"):
        fit(vae)
    vae.compile(Routed("adam", {vae.objective: "sgd"}), jit_compile=False)
    fit(vae)


def test_other_terms_than_those_of_a_vae_are_named_in_an_error():
    vae, _ = normal_vae()
    with pytest.raises(ValueError, match="expected another `objective` to have the same terms"):
        vae.objective = objectives.FactorVAE()
    assert list(vae_of(keras_vae.layers.IndependentNormal(3), objective=objectives.FactorVAE()).term_trackers) == [
        "nll",
        "kl",
        "total_correlation",
        "discriminator",
    ]


def test_a_discriminator_that_does_not_look_at_z_has_no_slope():
    vae = made(lambda: keras.Sequential([layers.Lambda(lambda z: 0.0 * ops.stop_gradient(z)), layers.Dense(2)]))
    z = tf.constant([[[-1.0, 1.0, 4.0], [0.25, 1.0, 4.0]]])
    forward = vae.forward_pass(X[:2], SEED, training=True)
    with tf.GradientTape() as tape:
        tape.watch(z)
        found = vae.objective(dataclasses.replace(forward, z=z, tap=None))["total_correlation"]
    np.testing.assert_array_equal(tape.gradient(found, z), np.zeros((1, 2, 3)))
