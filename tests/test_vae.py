"""The VAE itself: the algebra of the AEVB paper, the public methods, and what it refuses."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from keras import layers
from small import LinearGaussian, bernoulli_vae, digits, gaussian_vae, restart_noise

import keras_vae
from keras_vae.layers import IndependentBernoulli, IndependentNormal

tfd = tfp.distributions


# The algebra.


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_with_sigma_fixed_the_likelihood_trains_as_squared_error(sigma):
    """Every weight's gradient of the NLL is that of sum of squared errors / (2 sigma^2), for the same draw of z."""
    with_dtype = {"dtype": "float64"}
    encoder = keras.Sequential(
        [layers.Flatten(**with_dtype), layers.Dense(9, "tanh", **with_dtype), IndependentNormal(3, **with_dtype)]
    )
    decoder = keras.Sequential(
        [layers.Dense(9, "tanh", **with_dtype), IndependentNormal((8, 8, 1), scale=sigma, **with_dtype)]
    )
    vae = keras_vae.VAE(encoder, decoder, seed=3, **with_dtype)
    x = digits()[:20].astype("float64")
    vae(x)

    def gradients(loss_of):
        restart_noise(vae)
        with tf.GradientTape() as tape:
            loss = loss_of(vae(x, training=True))
        return tape.gradient(loss, [variable.value for variable in vae.trainable_variables])

    ours = gradients(lambda outputs: tf.reduce_mean(outputs["nll"]))
    squared_error = gradients(
        lambda outputs: tf.reduce_sum((x - outputs["reconstruction"]) ** 2) / (2 * sigma**2) / len(x)
    )
    assert len(ours) == 8
    for one, other in zip(ours, squared_error, strict=True):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6 * np.abs(other).max())


def test_the_bound_never_exceeds_the_exact_log_likelihood():
    """For posteriors away from the true one; the bound's sampling error allowed for at 5 standard errors (1e-6)."""
    model = LinearGaussian()
    x = model.sample(30)
    for shift, stretch in [(0.0, 1.0), (0.5, 1.0), (0.0, 2.0), (-1.0, 0.3)]:
        elbo, error = sampled_elbo(model.vae(posterior_shift=shift, posterior_stretch=stretch), x, draws=4000)
        assert np.all(elbo <= model.log_prob(x) + 5 * error + 1e-9)


def test_the_bound_is_tight_at_the_true_posterior_and_only_there():
    """False alarm rate: 30 two-sided comparisons at 5 standard errors, 2e-5."""
    model = LinearGaussian()
    x = model.sample(30)
    elbo, error = sampled_elbo(model.vae(), x, draws=4000)
    np.testing.assert_array_less(np.abs(elbo - model.log_prob(x)), 5 * error)
    away, _ = sampled_elbo(model.vae(posterior_shift=0.5), x, draws=4000)
    assert np.all(model.log_prob(x) - away > 0.1)


def sampled_elbo(vae, x, draws):
    """The bound of each example as a mean over draws, and the standard error of that mean."""
    posterior = vae.encode(x)
    z = posterior.sample(draws, seed=[1, 2])
    values = vae.decode(z).log_prob(x).numpy() - posterior.kl_divergence(vae.prior()).numpy()
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(draws)


@pytest.mark.parametrize("num_samples", [1, 5, 50])
def test_the_estimator_is_unbiased_for_any_number_of_samples(num_samples):
    """Mean of the L-sample bound over many passes is the closed form's. False alarms at 5 standard errors: 6e-7."""
    model = LinearGaussian()
    vae = model.vae(
        posterior_shift=0.3, posterior_stretch=1.5, objective=keras_vae.objectives.ELBO(num_samples=num_samples)
    )
    x = model.sample(1)
    passes = np.repeat(x, 4000, axis=0)
    nll = vae.predict(passes, batch_size=4000, verbose=0)["nll"]
    # E ||x - W z - b||^2 under q = N(m, V): the residual at the mean, plus the trace of W V W'.
    posterior = vae.encode(x)
    residual = x - posterior.mean().numpy() @ model.weights.T - model.bias
    spread = np.sum(model.weights**2 * posterior.variance().numpy())
    expected = 0.5 * (
        len(model.bias) * np.log(2 * np.pi * model.sigma**2) + (np.sum(residual**2) + spread) / model.sigma**2
    )
    error = nll.std(ddof=1) / np.sqrt(len(nll))
    assert error < 0.2
    assert abs(nll.mean() - expected) < 5 * error


def test_more_samples_shrink_the_variance_as_one_over_l():
    """The variance ratio of L = 1 to L = 25 is 25; estimated from 4000 passes, within 15% (6 standard errors)."""
    model = LinearGaussian()
    x = np.repeat(model.sample(1), 4000, axis=0)
    spread = [
        model.vae(objective=keras_vae.objectives.ELBO(num_samples=num))
        .predict(x, batch_size=4000, verbose=0)["nll"]
        .var()
        for num in (1, 25)
    ]
    assert 25 * 0.85 < spread[0] / spread[1] < 25 * 1.15


# The public methods.


def test_call_returns_reconstruction_and_terms_and_adds_the_losses():
    vae = gaussian_vae(objective=keras_vae.objectives.ELBO(beta=0.5, num_samples=4))
    x = digits()[:7]
    outputs = vae(x, training=True)
    assert list(outputs) == ["reconstruction", "nll", "kl"]
    assert outputs["reconstruction"].shape == (7, 8, 8, 1)
    assert outputs["nll"].shape == outputs["kl"].shape == (7,)
    expected = [np.mean(outputs["nll"]), 0.5 * np.mean(outputs["kl"])]
    np.testing.assert_allclose(vae.losses, expected, rtol=1e-6)


def test_terms_are_tfp_s_own_numbers():
    vae = gaussian_vae(scale=0.3)
    x = digits()[:5]
    vae(x)
    restart_noise(vae)
    outputs = vae(x)
    restart_noise(vae)
    posterior = vae.encode(x)
    mean, stddev = posterior.mean(), posterior.stddev()
    plain = tfd.MultivariateNormalDiag(mean, stddev)
    np.testing.assert_allclose(
        outputs["kl"], tfd.kl_divergence(plain, tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))), rtol=1e-5
    )
    likelihood = tfd.Independent(tfd.Normal(outputs["reconstruction"], 0.3), 3)
    np.testing.assert_allclose(outputs["nll"], -likelihood.log_prob(x), rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 4), (2, 3, 4)])
def test_decode_takes_any_batch_shape(shape):
    vae = gaussian_vae()
    vae(digits()[:2])
    z = np.random.default_rng(0).normal(size=(*shape, 3)).astype("float32")
    likelihood = vae.decode(z)
    assert isinstance(likelihood, tfd.Distribution)
    assert likelihood.batch_shape == shape and likelihood.event_shape == (8, 8, 1)
    one_by_one = np.array([vae.decode(row[None]).mean()[0] for row in z.reshape(-1, 3)]).reshape(*shape, 8, 8, 1)
    np.testing.assert_allclose(likelihood.mean(), one_by_one, rtol=1e-5, atol=1e-6)


def test_reconstruct_is_the_mean_at_the_mean_or_a_seeded_draw():
    vae = gaussian_vae(scale=0.5)
    x = digits()[:6]
    vae(x)
    np.testing.assert_array_equal(vae.reconstruct(x), vae.decode(vae.encode(x).mean()).mean())
    draw = vae.reconstruct(x, sample=True, seed=1)
    assert draw.shape == x.shape
    np.testing.assert_array_equal(draw, vae.reconstruct(x, sample=True, seed=1))
    assert not np.allclose(draw, vae.reconstruct(x, sample=True, seed=2))
    assert not np.allclose(vae.reconstruct(x, sample=True), vae.reconstruct(x, sample=True))


def test_generate_follows_its_seed_and_draws_from_the_likelihood_if_asked():
    vae = bernoulli_vae()
    vae(digits()[:2])
    means = vae.generate(5, seed=0).numpy()
    assert means.shape == (5, 8, 8, 1) and np.all((means > 0) & (means < 1))
    np.testing.assert_array_equal(means, vae.generate(5, seed=0))
    assert not np.allclose(means, vae.generate(5, seed=1))
    assert not np.allclose(vae.generate(5), vae.generate(5))
    draws = vae.generate(5, seed=0, sample=True).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0}


def test_predict_gives_numpy_for_every_example():
    vae = gaussian_vae()
    outputs = vae.predict(digits()[:11], batch_size=4, verbose=0)
    assert outputs["reconstruction"].shape == (11, 8, 8, 1)
    assert outputs["nll"].shape == outputs["kl"].shape == (11,)


@pytest.mark.parametrize(
    "event_shape", [(), (4, 3), *(pytest.param(s, marks=pytest.mark.slow) for s in ((5,), (2, 3, 2)))]
)
@pytest.mark.parametrize("family", [IndependentNormal, pytest.param(IndependentBernoulli, marks=pytest.mark.slow)])
def test_events_of_every_rank(event_shape, family):
    x = np.random.default_rng(0).integers(0, 2, size=(12, *event_shape)).astype("float32")
    encoder = keras.Sequential([layers.Reshape((-1,)), layers.Dense(4, "relu"), IndependentNormal(2)])
    if not event_shape:
        inputs = keras.Input(())
        encoder = keras.Model(inputs, IndependentNormal(2)(layers.Dense(4)(keras.ops.expand_dims(inputs, -1))))
    vae = keras_vae.VAE(encoder, keras.Sequential([layers.Dense(4, "relu"), family(event_shape)]))
    vae.compile("sgd", jit_compile=False)
    history = vae.fit(x, batch_size=5, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert vae.reconstruct(x).shape == x.shape
    assert vae.log_likelihood(x, num_samples=3, verbose=0).shape == (12,)


def test_convolutional_networks_and_colour_images():
    x = np.random.default_rng(0).uniform(size=(8, 8, 8, 3)).astype("float32")
    encoder = keras.Sequential([layers.Conv2D(4, 3, 2, "same", activation="relu"), IndependentNormal(2)])
    decoder = keras.Sequential(
        [
            layers.Dense(4 * 4 * 4, "relu"),
            layers.Reshape((4, 4, 4)),
            layers.Conv2DTranspose(4, 3, 2, "same", activation="relu"),
            IndependentNormal((8, 8, 3)),
        ]
    )
    vae = keras_vae.VAE(encoder, decoder)
    vae.compile("sgd", jit_compile=False)
    assert np.isfinite(vae.fit(x, verbose=0).history["loss"][0])
    assert vae.decoder.layers[-1].weights[0].shape == (4, 6)  # a 1x1 convolution to mean and log-variance
    assert vae.generate(2).shape == (2, 8, 8, 3)


def multi_input_vae(target):
    image, label = keras.Input((8, 8, 1), name="image"), keras.Input((10,), name="label")
    features = layers.Dense(16, "tanh")(layers.Concatenate()([layers.Flatten()(image), label]))
    inputs = {"image": image, "label": label} if isinstance(target, str) else [image, label]
    encoder = keras.Model(inputs, IndependentNormal(3)(features))
    return keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), target=target)


@pytest.mark.parametrize("target", [pytest.param(None, marks=pytest.mark.slow), 0, "image"])
def test_an_encoder_of_several_inputs_scores_the_target(target):
    image, label = digits()[:20], np.eye(10, dtype="float32")[np.arange(20) % 10]
    x = {"image": image, "label": label} if target == "image" else [image, label]
    vae = multi_input_vae(target)
    vae.compile("sgd", jit_compile=False)
    vae.fit(x, batch_size=8, epochs=1, verbose=0)
    vae.fit(tf.data.Dataset.from_tensor_slices((x if isinstance(x, dict) else tuple(x), label)).batch(8), verbose=0)
    assert vae.reconstruct(x).shape == image.shape
    assert vae.log_likelihood(x, num_samples=2, verbose=0).shape == (20,)
    assert keras.tree.flatten(vae.evaluate(x, verbose=0, return_dict=True))[0] < 0


def test_a_dictionary_without_a_target_is_refused():
    image, label = digits()[:20], np.zeros((20, 10), "float32")
    vae = multi_input_vae("picture")
    vae.compile("sgd", jit_compile=False)
    with pytest.raises(ValueError, match=r"x to have the part 'picture', .* received keys \['image', 'label'\]"):
        vae.fit({"image": image, "label": label}, verbose=0)


@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_mixed_precision_scores_in_float32(policy):
    """The networks compute in half precision; x, z and the terms stay float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        vae = gaussian_vae(scale=0.1)
        x = digits()[:32] * 0.999 + 1e-4  # not representable in half precision
        vae.compile("sgd", jit_compile=False)
        vae.fit(x, epochs=2, verbose=0)
        restart_noise(vae)
        outputs = vae(x)
        assert {value.dtype for value in outputs.values()} == {tf.float32}
        assert vae.encoder.layers[1].compute_dtype == policy.removeprefix("mixed_")
        expected = -tfd.Independent(tfd.Normal(outputs["reconstruction"], 0.1), 3).log_prob(x)
        np.testing.assert_allclose(outputs["nll"], expected, rtol=1e-5)
    finally:
        keras.config.set_dtype_policy(before)


def test_works_as_a_layer_of_another_model():
    vae = gaussian_vae()
    inputs = keras.Input((8, 8, 1))
    outer = keras.Model(inputs, vae(inputs)["reconstruction"])
    outer.compile("sgd", loss="mse")
    assert np.isfinite(outer.fit(digits()[:20], digits()[:20], verbose=0).history["loss"][0])
    assert len(outer.losses) == 2


# Saving.


@pytest.mark.parametrize("make", [gaussian_vae, pytest.param(bernoulli_vae, marks=pytest.mark.slow)])
def test_save_and_load(make, tmp_path):
    vae = make(objective=keras_vae.objectives.ELBO(beta=0.7, num_samples=2))
    vae.compile("sgd", jit_compile=False)
    vae.fit(digits()[:64], verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(vae.get_config())
    np.testing.assert_array_equal(loaded.reconstruct(digits()[:5]), vae.reconstruct(digits()[:5]))
    restart_noise(vae), restart_noise(loaded)
    assert loaded.evaluate(digits(), verbose=0, return_dict=True) == vae.evaluate(digits(), verbose=0, return_dict=True)
    assert loaded.optimizer.iterations == vae.optimizer.iterations == 2
    loaded.fit(digits()[:64], verbose=0)


def test_a_schedule_survives_saving(tmp_path):
    schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 10, end_learning_rate=1.0)
    vae = gaussian_vae(objective=keras_vae.objectives.ELBO(beta=schedule))
    vae.build((None, 8, 8, 1))
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert loaded.objective.beta.get_config() == schedule.get_config()


# What it refuses.


def test_parts_of_the_wrong_kind():
    encoder, decoder = keras.Sequential([IndependentNormal(2)]), keras.Sequential([IndependentNormal(3)])
    with pytest.raises(ValueError, match=r"expected `encoder` to be a keras Layer, .*received: 3 of type int"):
        keras_vae.VAE(3, decoder)
    with pytest.raises(ValueError, match=r"expected `decoder` to be a keras Layer, .*received: None"):
        keras_vae.VAE(encoder, None)
    with pytest.raises(ValueError, match=r"expected `prior` to be a keras_vae Prior, .*received: 'normal'"):
        keras_vae.VAE(encoder, decoder, prior="normal")
    with pytest.raises(ValueError, match=r"expected `objective` to be a keras_vae Objective, .*received: 'elbo'"):
        keras_vae.VAE(encoder, decoder, objective="elbo")


def refused(encoder, decoder, x=None, **kwargs):
    """Fits, and hands back the message of the ValueError; fails if a training step ran."""
    vae = keras_vae.VAE(keras.Sequential(encoder), keras.Sequential(decoder), **kwargs)
    vae.compile(keras.optimizers.Adam(), jit_compile=False)
    with pytest.raises(ValueError) as caught:
        vae.fit(digits()[:16] if x is None else x, verbose=0)
    assert vae.optimizer.iterations == 0
    return str(caught.value)


def test_an_encoder_that_does_not_end_in_a_distribution():
    message = refused([layers.Flatten(), layers.Dense(4)], [IndependentNormal((8, 8, 1))])
    assert message.startswith("Expected the encoder to end in a distribution layer")
    assert "received a tensor of shape (None, 4)" in message


def test_a_decoder_that_does_not_end_in_a_distribution():
    message = refused([layers.Flatten(), IndependentNormal(2)], [layers.Dense(4)])
    assert message.startswith("Expected the decoder to end in a distribution layer")


def test_a_decoder_whose_event_is_not_x():
    message = refused([layers.Flatten(), IndependentNormal(2)], [IndependentNormal((8, 8))])
    assert "decoder's event shape, (8, 8); received x of shape (8, 8, 1)" in message
    assert "x[..., 0]" in message
    message = refused([layers.Flatten(), IndependentNormal(2)], [IndependentNormal((8, 8, 1))], digits()[:16, ..., 0])
    assert "x[..., None]" in message
    message = refused([layers.Flatten(), IndependentNormal(2)], [IndependentNormal(64)])
    assert "(64,); received x of shape (8, 8, 1)" in message


def test_latent_sizes_that_disagree():
    message = refused([layers.Flatten(), IndependentNormal(2)], [keras.Input((5,)), IndependentNormal((8, 8, 1))])
    assert "the decoder takes, (5,); received latents of shape (2,)" in message


def test_a_prior_of_another_event_shape_than_the_posterior():
    prior = keras_vae.priors.StandardNormal(5)
    message = refused([layers.Flatten(), IndependentNormal(2)], [IndependentNormal((8, 8, 1))], prior=prior)
    assert "posterior's event shape, (2,); received: event_shape=(5,)" in message


def test_a_prior_shared_with_a_model_of_another_latent():
    prior = keras_vae.priors.StandardNormal()
    prior.build((5,))
    message = refused([layers.Flatten(), IndependentNormal(2)], [IndependentNormal((8, 8, 1))], prior=prior)
    assert "same event shape; received: posterior (2,) (the encoder's last layer), prior (5,)" in message


@pytest.mark.parametrize("num", [0, -1, 2.5, True, "3"])
def test_numbers_of_samples_that_are_no_positive_integers(num):
    vae = gaussian_vae()
    vae(digits()[:2])
    with pytest.raises(ValueError, match="log_likelihood: expected `num_samples` to be an integer >= 1; received: "):
        vae.log_likelihood(digits()[:2], num_samples=num)
    with pytest.raises(ValueError, match="generate: expected `num` to be an integer >= 1; received: "):
        vae.generate(num)
    with pytest.raises(ValueError, match="ELBO: expected `num_samples` to be an integer >= 1; received: "):
        keras_vae.objectives.ELBO(num_samples=num)


def test_generating_before_the_model_has_seen_data():
    with pytest.raises(ValueError, match=r"generate: expected a built model; .*Call `fit` first"):
        gaussian_vae().generate(3)


@pytest.mark.parametrize("seed", [1.5, "a", True])
def test_seeds_that_are_no_integers(seed):
    vae = gaussian_vae()
    vae(digits()[:2])
    with pytest.raises(ValueError, match="Expected `seed` to be None or an integer; received: "):
        vae.generate(2, seed=seed)


def test_a_seed_of_the_model_that_is_no_integer():
    with pytest.raises(ValueError, match="Expected `seed` to be None or an integer; received: True"):
        keras_vae.VAE(keras.Sequential([IndependentNormal(2)]), keras.Sequential([IndependentNormal(3)]), seed=True)


def test_a_target_of_an_x_without_parts():
    encoder = [layers.Flatten(), IndependentNormal(2)]
    assert "received target=0 for x of type" in refused(encoder, [IndependentNormal((8, 8, 1))], target=0)


class Distributed(layers.Layer):
    """Ends a network in a distribution of the test's own."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def call(self, features):
        return self.make(features)

    def compute_output_spec(self, features):
        return keras.KerasTensor(features.shape)


def test_a_distribution_with_more_than_one_batch_axis():
    """As of a plain Normal: every latent would be its own example."""
    plain = Distributed(lambda loc: tfd.Normal(loc, 1.0))
    message = refused([layers.Flatten(), layers.Dense(16), plain], [IndependentNormal((8, 8, 1))])
    assert (
        "the encoder's distribution to have one batch axis, [batch]; received Normal of batch shape (None, 16)"
        in message
    )
    message = refused([layers.Flatten(), IndependentNormal(2)], [layers.Dense(64), plain])
    assert "the decoder's distribution to have one batch axis" in message and "tfd.Independent" in message


def test_a_posterior_without_gradients():
    message = refused([layers.Flatten(), IndependentBernoulli(2)], [IndependentNormal((8, 8, 1))])
    assert "end in a reparameterized distribution" in message and "received IndependentBernoulliDistribution" in message


@pytest.mark.parametrize("size", [32, 1, 5])
def test_a_prior_of_a_batch(size):
    """Also one that fits the batch size by chance, or is repeated: its draws are batches of latents."""

    class Batched(keras_vae.priors.Prior):
        def distribution(self):
            return tfd.MultivariateNormalDiag(tf.zeros((size, 2)), tf.ones(2))

    parts = [layers.Flatten(), IndependentNormal(2)], [IndependentNormal((8, 8, 1))]
    message = refused(*parts, prior=Batched())
    assert "Expected the prior to be one distribution, of batch shape (), whose draws are single latents" in message
    assert f"received MultivariateNormalDiag of batch shape ({size},), event shape (2,)" in message


def test_an_objective_whose_terms_are_not_its_weights():
    class Forgetful(keras_vae.objectives.ELBO):
        def __call__(self, draw):
            return {"nll": super().__call__(draw)["nll"]}

    parts = [layers.Flatten(), IndependentNormal(2)], [IndependentNormal((8, 8, 1))]
    message = refused(*parts, objective=Forgetful())
    assert "Forgetful: expected terms named and ordered as its weights, ['nll', 'kl']; received ['nll']" in message


# TFP's own distributions.


def test_a_multivariate_normal_posterior_has_its_exact_kl():
    posterior = Distributed(lambda f: tfd.MultivariateNormalDiag(f[:, :3], tf.nn.softplus(f[:, 3:])))
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(6), posterior])
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]))
    x = digits()[:5]
    exact = tfd.kl_divergence(vae.encode(x), tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3)))
    np.testing.assert_allclose(vae(x)["kl"], exact, rtol=1e-5)


def test_a_kl_without_closed_form_is_the_mean_over_the_draws():
    """Of a Laplace posterior, against quadrature; false alarms at 5 standard errors: 6e-7."""
    posterior = Distributed(lambda f: tfd.Independent(tfd.Laplace(tf.zeros_like(f[:, :1]) + 0.5, 0.8), 1))
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(1), posterior])
    objective = keras_vae.objectives.ELBO(num_samples=2000)
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), objective=objective, seed=0)
    kl = vae(digits()[:20])["kl"].numpy()
    grid = np.linspace(-30, 30, 2_000_001)
    log_q = -np.abs(grid - 0.5) / 0.8 - np.log(1.6)
    integrand = np.exp(log_q) * (log_q + grid**2 / 2 + np.log(2 * np.pi) / 2)
    exact = np.sum(integrand) * (grid[1] - grid[0])
    assert abs(kl.mean() - exact) < 5 * kl.std(ddof=1) / np.sqrt(len(kl))


def test_a_likelihood_without_a_mean_is_drawn_by_its_mode():
    def quantized(logits):
        uniform = tfd.Independent(tfd.Cauchy(logits, 1.0), 1)
        return uniform

    decoder = keras.Sequential([layers.Dense(64), Distributed(quantized)])
    encoder = keras.Sequential([IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, decoder)
    vae.compile("sgd", jit_compile=False)
    x = digits()[:16].reshape(16, 64)
    vae.fit(x, verbose=0)
    assert vae.reconstruct(x).shape == x.shape


def test_of_x_that_does_not_fit_nothing_is_known():
    vae = gaussian_vae()
    with pytest.raises(ValueError, match="event shape"):
        vae.build((None, 7, 7, 1))
    assert vae.event_shape is vae.support is vae.x_spec is None
