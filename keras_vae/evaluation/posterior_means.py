"""The latents of data of any size, for whoever wants features of it."""

from keras_vae.estimates import centre
from keras_vae.evaluation.over_data import Reader


class PosteriorMeans(Reader):
    """Gives the mean of q(z|x), or what else is its centre, `[N, *latent]`: see `keras_vae.estimates.centre`.

    Args:
        vae: the `VAE`.
        block: of no account: nothing is drawn.
    """

    scores = False

    def answer(self, x, num_samples, seed):
        return centre(self.vae.encode(x))
