"""How likely each element of x is: which pixel, or which column, is strange."""

import keras
from keras import ops

from keras_vae import backend
from keras_vae.evaluation.over_data import Reader


class ElementScores(Reader):
    """Gives E_q(z|x)[ log p(x_i|z) ] of each element of x, `[N, *event]`, by S draws; by name for several parts.

    Args:
        vae: the `VAE`.
        block: draws an example that go through the decoder at once.
    """

    def answer(self, x, num_samples, seed):
        vae, block = self.vae, self.block
        posterior, x = vae.encode(x), vae.target_of(x)
        seed = backend.seed_for_rows(seed, posterior)

        def add_block(start, *sums):
            z = posterior.sample(block, seed=backend.fold_in(seed, start))
            found = vae.decode(z).log_prob_of_elements(x)
            counts = start + ops.arange(block, dtype="int32") < num_samples

            def with_block(total, each):
                mask = ops.reshape(counts, (block, *[1] * (len(each.shape) - 1)))
                return total + ops.sum(ops.where(mask, ops.cast(each, total.dtype), 0.0), axis=0)

            return start + block, *map(with_block, sums, keras.tree.flatten(found))

        nothing = [ops.zeros_like(part) for part in keras.tree.flatten(x)]
        _, *sums = ops.while_loop(
            lambda start, *sums: start < num_samples, add_block, (ops.zeros((), "int32"), *nothing)
        )
        return keras.tree.pack_sequence_as(x, [total / ops.cast(num_samples, total.dtype) for total in sums])
