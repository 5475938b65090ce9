"""What is asked of a trained model about data of any size: latents, likelihoods, what is missing."""

from typing import Any

import numpy as np

from keras_vae.evaluation import imputation
from keras_vae.evaluation.elements import ElementScores
from keras_vae.evaluation.log_likelihood import ImportanceSampler
from keras_vae.evaluation.over_data import read
from keras_vae.evaluation.posterior_means import PosteriorMeans
from keras_vae.trainer import Trainer


class Inference(Trainer):
    """A `Trainer` that answers questions about data, batch by batch, compiled, and with progress.

    Each method takes what `predict` takes, and gives NumPy arrays. None changes the model but for its seeds, and each
    may be called from many threads: calls of one kind wait for each other.
    """

    def transform(
        self, x: Any, batch_size: int | None = None, verbose: int | str = "auto", check_data: bool = True
    ) -> np.ndarray:
        """The latent features of data: the means of q(z|x), `[N, *latent]`, as a NumPy array.

        A posterior without a mean, such as a flow, gives another centre: see `keras_vae.estimates.centre`.

            vae.transform(x)  # [64, 4]

        Args:
            x: what `predict` takes: arrays, a data frame, a `tf.data.Dataset`, a `PyDataset`, a generator.
            batch_size: examples at a time. Default: 2,048.
            verbose: as of `predict`.
            check_data: False to trust x unseen.

        Raises:
            ValueError: x does not fit, or cannot be scored.
        """
        return read(
            self,
            PosteriorMeans,
            x,
            name="transform",
            batch_size=batch_size,
            verbose=verbose,
            seed=0,  # which nothing is drawn by: the model's own stay where they are
            check_data=check_data,
        )

    def log_likelihood(
        self,
        x: Any,
        num_samples: int = 5000,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        seed: int | None = None,
        check_data: bool = True,
    ) -> np.ndarray:
        """log p(x) by importance sampling from the posterior, `[N]`, nats per example, as a NumPy array.

            log p(x) ~= log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

        In expectation a lower bound, which tightens as S grows (Burda, Grosse & Salakhutdinov, arXiv 1509.00519,
        theorem 1). Memory does not grow with `num_samples`. It is 0 where nothing was observed, under `Masked`.

        Args:
            x: as of `transform`.
            num_samples: S, a positive integer.
            batch_size: examples at a time. Default: fewer the more samples, so that progress shows.
            verbose: as of `predict`.
            seed: an integer, for a repeatable estimate. Default: the model's own seeds.
            check_data: False to trust x unseen.

        Raises:
            ValueError: `num_samples` is not a positive integer; x cannot be scored.
        """
        return read(
            self,
            ImportanceSampler,
            x,
            name="log_likelihood",
            num_samples=num_samples,
            batch_size=batch_size,
            verbose=verbose,
            seed=seed,
            check_data=check_data,
        )

    def log_prob_of_elements(
        self,
        x: Any,
        num_samples: int = 100,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        seed: int | None = None,
        check_data: bool = True,
    ) -> np.ndarray | dict[str, np.ndarray]:
        """How likely each element of x is, `[N, *event]`, in nats: which pixel, or which column, is strange.

            E_q(z|x)[ log p(x_i|z) ],    by the mean over S draws of z

        Over the elements they add up to -nll. What was not observed, under `Masked`, has 0. A `Joint` gives a
        dictionary, part by part.

            vae.log_prob_of_elements(x).argmin(axis=1)  # [64], the strangest column of each

        Args:
            x, batch_size, verbose, seed, check_data: as of `log_likelihood`.
            num_samples: S, a positive integer.

        Raises:
            ValueError: the likelihood's elements are not independent; or as of `log_likelihood`.
        """
        return read(
            self,
            ElementScores,
            x,
            name="log_prob_of_elements",
            num_samples=num_samples,
            batch_size=batch_size,
            verbose=verbose,
            seed=seed,
            check_data=check_data,
        )

    def impute(
        self,
        x: Any,
        num_samples: int = 1000,
        num_imputations: int | None = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        seed: int | None = None,
        check_data: bool = True,
    ) -> Any:
        """x with its missing entries, NaN, filled in: by their expectation given the rest, or by draws.

            E[x_missing|x_observed] ~= sum_s w_s E[x_missing|z_s],
            w_s proportional to p(x_observed|z_s) p(z_s) / q(z_s|x_observed),    z_s ~ q(z|x_observed)

        Mattei & Frellsen, "MIWAE" (arXiv 1812.02633), equation 12. Draws are made by sampling importance resampling: z
        is picked among the z_s by their weights, and x_missing drawn from p(x|z). They spread as what is missing does,
        where the expectation does not: fit a model to each, and pool (Rubin, 1987). For categories the likeliest stands
        for the expectation.

            with_gaps = np.where(x > 2.0, np.nan, x)
            masked_vae.impute(with_gaps, num_samples=100)  # [64, 13], without a gap

        Args:
            x: an array, a data frame, or a list, tuple or dictionary of them, as `fit` takes it. What comes back is of
                the same kind, a data frame with its index and columns, and what was observed is as it was. A stream
                gives its scored part, as arrays.
            num_samples: S, a positive integer.
            num_imputations: M, for a list of M such x's, each with other draws. Default: the expectation.
            batch_size, verbose, seed, check_data: as of `log_likelihood`.

        Raises:
            ValueError: the decoder is not `Masked`; the model has not seen data; or as of `log_likelihood`.
        """
        return imputation.impute(
            self,
            x,
            num_imputations,
            num_samples=num_samples,
            batch_size=batch_size,
            verbose=verbose,
            seed=seed,
            check_data=check_data,
        )
