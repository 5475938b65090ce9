"""A VAE of Keras 3's own `fit`: plain TFP distributions in `call`, and `add_loss`."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from keras import layers

from contestants import networks
from contestants.base import EPSILON, LEARNING_RATE
from contestants.fit import ImportanceSampled

tfd = tfp.distributions


class VAE(keras.Model):
    def __init__(self, encoder, decoder, workload, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder, self.workload = encoder, decoder, workload
        self.prior = tfd.MultivariateNormalDiag(tf.zeros([workload.latent]))
        self.nll_tracker, self.kl_tracker = keras.metrics.Mean(name="nll"), keras.metrics.Mean(name="kl")

    def posterior(self, x):
        mean, log_variance = tf.split(self.encoder(x), 2, axis=-1)
        return tfd.MultivariateNormalDiag(mean, tf.exp(0.5 * log_variance))

    def likelihood(self, z):
        """p(x|z) for z `[S, B, D]`: batch `[S, B]`."""
        event = self.workload.event_shape
        shape = tf.concat([tf.shape(z)[:2], event[:-1], [-1]], 0)
        parameters = tf.reshape(self.decoder(tf.reshape(z, [-1, z.shape[-1]])), shape)
        if self.workload.likelihood == "bernoulli":
            return tfd.Independent(tfd.Bernoulli(logits=parameters), len(event))
        mean, log_variance = tf.split(parameters, 2, axis=-1)
        return tfd.Independent(tfd.Normal(mean, tf.exp(0.5 * log_variance)), len(event))

    def call(self, x):
        posterior = self.posterior(x)
        z = posterior.sample(self.workload.num_samples)
        log_likelihood = self.likelihood(z).log_prob(x)
        nll = -tf.reduce_mean(log_likelihood, axis=0)
        kl = tfd.kl_divergence(posterior, self.prior)
        self.nll_tracker.update_state(nll)
        self.kl_tracker.update_state(kl)
        if self.workload.objective == "iwae":
            log_weights = log_likelihood + self.prior.log_prob(z) - posterior.log_prob(z)
            self.add_loss(-tf.reduce_mean(tfp.math.reduce_logmeanexp(log_weights, axis=0)))
        else:
            self.add_loss(tf.reduce_mean(nll + kl))
        return kl


def build(workload, train, seed, xla):
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential([*networks.encoder(workload, layers), layers.Dense(2 * workload.latent)])
    decoder = keras.Sequential([*networks.decoder(workload, layers), networks.output(workload, layers)])
    encoder.build((None, *workload.event_shape))
    decoder.build((None, workload.latent))
    vae = VAE(encoder, decoder, workload)
    vae.compile(keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON), jit_compile=xla)
    contestant = KerasTFP(workload, train, vae, keras)
    contestant.xla = xla
    return contestant


class KerasTFP(ImportanceSampled):
    def posterior(self, x):
        return tf.split(self.model.encoder(x), 2, axis=-1)

    def log_prob(self, x, z):
        return self.model.likelihood(z).log_prob(x)
