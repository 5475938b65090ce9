"""A VAE of Keras 3 with a `train_step` of its own: the pattern of keras.io/examples/generative/vae, written anew."""

import math

import keras
import tensorflow as tf
from keras import layers, ops

from contestants import networks
from contestants.base import EPSILON, LEARNING_RATE
from contestants.fit import ImportanceSampled


class Sampling(layers.Layer):
    """z = mean + sigma noise, `[S B, D]`: S draws of each of B latents, draw after draw."""

    def __init__(self, num_samples, **kwargs):
        super().__init__(**kwargs)
        self.num_samples = num_samples
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs):
        mean, log_variance = inputs
        shape = (self.num_samples, ops.shape(mean)[0], mean.shape[-1])
        noise = keras.random.normal(shape, seed=self.seed_generator)
        return ops.reshape(mean + ops.exp(0.5 * log_variance) * noise, (-1, mean.shape[-1]))


class VAE(keras.Model):
    def __init__(self, encoder, decoder, workload, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder, self.workload = encoder, decoder, workload
        self.total_loss_tracker = keras.metrics.Mean(name="loss")
        self.reconstruction_loss_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

    @property
    def metrics(self):
        return [self.total_loss_tracker, self.reconstruction_loss_tracker, self.kl_loss_tracker]

    def reconstruction_error(self, data, decoded):
        """-log p(x|z), `[S, B]`, from the decoder's output for S draws of each of B latents."""
        event = tuple(data.shape[1:])
        axes = tuple(range(2, 2 + len(event)))
        if self.workload.likelihood == "bernoulli":
            probabilities = ops.reshape(decoded, (-1, ops.shape(data)[0], *event))
            targets = ops.broadcast_to(data, ops.shape(probabilities))
            return ops.sum(ops.binary_crossentropy(targets, probabilities), axis=axes)
        mean, log_variance = ops.split(ops.reshape(decoded, (-1, ops.shape(data)[0], 2 * event[0])), 2, axis=-1)
        squares = ops.square(data - mean) * ops.exp(-log_variance)
        return 0.5 * ops.sum(squares + log_variance + math.log(2 * math.pi), axis=axes)

    def log_ratio(self, z_mean, z_log_var, z):
        """log p(z) - log q(z|x), `[S, B]`: the constants of the two Gaussians cancel."""
        z = ops.reshape(z, (-1, ops.shape(z_mean)[0], z_mean.shape[-1]))
        noise = (z - z_mean) * ops.exp(-0.5 * z_log_var)
        return 0.5 * ops.sum(ops.square(noise) - ops.square(z) + z_log_var, axis=-1)

    def losses_of(self, data):
        z_mean, z_log_var, z = self.encoder(data)
        reconstruction_error = self.reconstruction_error(data, self.decoder(z))
        reconstruction_loss = ops.mean(reconstruction_error)
        kl_loss = -0.5 * (1 + z_log_var - ops.square(z_mean) - ops.exp(z_log_var))
        kl_loss = ops.mean(ops.sum(kl_loss, axis=1))
        if self.workload.objective == "iwae":
            log_weights = self.log_ratio(z_mean, z_log_var, z) - reconstruction_error
            total_loss = math.log(self.workload.num_samples) - ops.mean(ops.logsumexp(log_weights, axis=0))
        else:
            total_loss = reconstruction_loss + kl_loss
        return total_loss, reconstruction_loss, kl_loss

    def report(self, total_loss, reconstruction_loss, kl_loss):
        self.total_loss_tracker.update_state(total_loss)
        self.reconstruction_loss_tracker.update_state(reconstruction_loss)
        self.kl_loss_tracker.update_state(kl_loss)
        return {metric.name: metric.result() for metric in self.metrics}

    def train_step(self, data):
        with tf.GradientTape() as tape:
            losses = self.losses_of(data)
        grads = tape.gradient(losses[0], self.trainable_weights)
        self.optimizer.apply_gradients(zip(grads, self.trainable_weights, strict=True))
        return self.report(*losses)

    def test_step(self, data):
        return self.report(*self.losses_of(data))


def build(workload, train, seed, xla):
    keras.utils.set_random_seed(seed)
    encoder_inputs = keras.Input(workload.event_shape)
    hidden = encoder_inputs
    for layer in networks.encoder(workload, layers):
        hidden = layer(hidden)
    z_mean = layers.Dense(workload.latent, name="z_mean")(hidden)
    z_log_var = layers.Dense(workload.latent, name="z_log_var")(hidden)
    z = Sampling(workload.num_samples)([z_mean, z_log_var])
    encoder = keras.Model(encoder_inputs, [z_mean, z_log_var, z])

    activation = "sigmoid" if workload.likelihood == "bernoulli" else None
    decoder = keras.Sequential(
        [
            keras.Input((workload.latent,)),
            *networks.decoder(workload, layers),
            networks.output(workload, layers, activation),
        ]
    )
    vae = VAE(encoder, decoder, workload)
    vae.compile(keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON), jit_compile=xla)
    contestant = KerasCustomStep(workload, train, vae, keras)
    contestant.xla = xla
    return contestant


class KerasCustomStep(ImportanceSampled):
    def posterior(self, x):
        return self.model.encoder(x)[:2]

    def log_prob(self, x, z):
        return -self.model.reconstruction_error(x, self.model.decoder(tf.reshape(z, [-1, z.shape[-1]])))
