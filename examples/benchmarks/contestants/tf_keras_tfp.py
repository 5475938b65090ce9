"""A VAE of tf_keras, Keras 2 as it lives on, with `tfp.layers`: the pattern of TFP's own tutorial.

But for the KL. The tutorial's activity regularizer counts it twice with these versions, and so trains a beta of 2; here
it is added once, with `add_loss`. And sigma is the exponential of half a log-variance, as everybody else's.
"""

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from contestants import networks
from contestants.base import EPSILON, LEARNING_RATE
from contestants.fit import ImportanceSampled

tfd, tfpl, layers = tfp.distributions, tfp.layers, tf_keras.layers


class VAE(tf_keras.Model):
    def __init__(self, encoder, decoder, workload):
        super().__init__()
        self.encoder, self.decoder, self.objective = encoder, decoder, workload.objective
        self.prior = tfd.MultivariateNormalDiag(tf.zeros([workload.latent]))

    def call(self, x):
        posterior = self.encoder(x)
        z = tf.convert_to_tensor(posterior)  # `[S, B, D]`, as the encoder's last layer says
        likelihood = self.decoder(tf.reshape(z, [-1, z.shape[-1]]))
        if self.objective == "iwae":  # a function of all draws together, so no loss of x and p(x|z) alone
            log_weights = likelihood.log_prob(x) + self.prior.log_prob(z) - posterior.log_prob(z)
            self.add_loss(-tf.reduce_mean(tfp.math.reduce_logmeanexp(log_weights, axis=0)))
        else:
            self.add_loss(tf.reduce_mean(tfd.kl_divergence(posterior, self.prior)))
        return likelihood


def negative_log_likelihood(x, likelihood):
    """-log p(x|z), `[S, B]`."""
    return -likelihood.log_prob(x)


def build(workload, train, seed, xla):
    tf_keras.utils.set_random_seed(seed)
    event = workload.event_shape

    def posterior(parameters):
        mean, log_variance = tf.split(parameters, 2, axis=-1)
        return tfd.MultivariateNormalDiag(mean, tf.exp(0.5 * log_variance))

    def bernoulli(logits):
        logits = tf.reshape(logits, [workload.num_samples, -1, *event])
        return tfd.Independent(tfd.Bernoulli(logits=logits), len(event))

    def gaussian(parameters):
        mean, log_variance = tf.split(tf.reshape(parameters, [workload.num_samples, -1, 2 * event[0]]), 2, axis=-1)
        return tfd.Independent(tfd.Normal(mean, tf.exp(0.5 * log_variance)), 1)

    encoder = tf_keras.Sequential(
        [
            layers.InputLayer(event),
            *networks.encoder(workload, layers),
            layers.Dense(2 * workload.latent),
            tfpl.DistributionLambda(posterior, convert_to_tensor_fn=lambda q: q.sample(workload.num_samples)),
        ]
    )
    # Where a tensor is asked of the likelihood, its parameter is cheaper than a draw, and nobody looks at either.
    if workload.likelihood == "bernoulli":
        head = tfpl.DistributionLambda(bernoulli, convert_to_tensor_fn=lambda p: p.distribution.logits)
    else:
        head = tfpl.DistributionLambda(gaussian, convert_to_tensor_fn=lambda p: p.distribution.loc)
    decoder = tf_keras.Sequential(
        [
            layers.InputLayer((workload.latent,)),
            *networks.decoder(workload, layers),
            networks.output(workload, layers),
            head,
        ]
    )
    vae = VAE(encoder, decoder, workload)
    loss = None if workload.objective == "iwae" else negative_log_likelihood
    vae.compile(tf_keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON), loss=loss, jit_compile=xla)
    contestant = TFKerasTFP(workload, train, vae, tf_keras)
    contestant.xla = xla
    return contestant


class TFKerasTFP(ImportanceSampled):
    def bound(self, images):
        return -self.model.evaluate(images, images, batch_size=200, verbose=0, return_dict=True)["loss"]

    def posterior(self, x):
        q = self.model.encoder(x)
        return q.mean(), 2 * tf.math.log(q.stddev())

    def log_prob(self, x, z):
        rows = tf.reshape(z, [-1, z.shape[-1]])
        likelihood = self.model.decoder(rows).distribution
        # The decoder's one draw an image, seen as S draws of B images.
        logits = tf.reshape(likelihood.logits, [*z.shape[:2], *x.shape[1:]])
        return tfd.Independent(tfd.Bernoulli(logits=logits), len(x.shape) - 1).log_prob(x)

    def _fit(self, images, epochs, *callbacks):
        batch_size = self.workload.batch_size
        self.model.fit(images, images, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=list(callbacks))
