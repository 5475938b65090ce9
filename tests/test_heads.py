"""A head on the labels that a subclass calls in its `compute_loss`, and nowhere before: it trains, and comes back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from resumed import state_of
from saved import reload
from sklearn.datasets import load_digits
from small import digits, gaussian_vae

import keras_vae

X, Y = digits()[:64], load_digits().target[:64]


@keras.saving.register_keras_serializable("tests")
class WithHead(keras_vae.VAE):
    """A VAE that also tells which digit it is, by its latents."""

    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        self.head = keras.Sequential([layers.Dense(4, "tanh"), layers.Dense(10)])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        logits = self.head(self.encode(x, training=training).mean())
        return loss + keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True))


def made(**kwargs):
    like = gaussian_vae(units=8)
    vae = WithHead(like.encoder, like.decoder, seed=0)
    vae.compile(keras.optimizers.Adam(1e-2), **{"jit_compile": False, **kwargs})
    vae.build(X.shape)  # all but the head
    return vae


def fit(vae, x=X, y=Y, **kwargs):
    return vae.fit(x, y, **{"batch_size": None if y is None else 16, "verbose": 0, "shuffle": False, **kwargs}).history


@pytest.mark.parametrize(
    "how", [{}, {"steps_per_execution": 1}, {"run_eagerly": True}, {"jit_compile": True}], ids=["blocks", *"sex"]
)
def test_it_trains_with_the_rest(how):
    """As where the head is called before, which Keras itself asks for nowhere."""
    vae, called = made(**how), made(**how)
    called.head(np.zeros((1, 3), "float32"))
    called.head.set_weights([np.full(weight.shape, 0.1) for weight in called.head.weights])
    vae.engine.build_for_loss((tf.constant(X[:2]), tf.constant(Y[:2]), None))
    vae.head.set_weights(called.head.get_weights())
    np.testing.assert_allclose(fit(vae)["loss"], fit(called)["loss"], rtol=1e-6)
    for one, other in zip(vae.get_weights(), called.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", ["fit", "evaluate", "data set", "generator"])
def test_its_weights_move_whatever_comes_first(first):
    vae = made()
    if first == "evaluate":
        vae.evaluate(X, Y, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    data = {"data set": batches, "generator": iter(list(batches.as_numpy_iterator()))}.get(first)
    if first == "generator":
        data = (each for each in data)
    fit(vae) if data is None else fit(vae, data, None)
    before = vae.head.get_weights()
    assert [weight.shape for weight in before] == [(3, 4), (4,), (4, 10), (10,)]
    fit(vae)
    assert not any(np.array_equal(*pair) for pair in zip(before, vae.head.get_weights(), strict=True))
    scores = vae.evaluate(X, Y, verbose=0, return_dict=True)
    assert scores["loss"] > scores["nll"] + scores["kl"] + 1.0


def test_it_comes_back_from_a_file_and_goes_on(tmp_path):
    """In the same state, the optimizer's too; another epoch is the one that the model itself has, and is saved anew."""
    vae = made()
    fit(vae)
    loaded = reload(vae, tmp_path)
    assert state_of(loaded) == state_of(vae)
    assert fit(loaded) == fit(vae)
    assert state_of(reload(loaded, tmp_path)) == state_of(vae)


def test_a_run_is_resumed_from_a_backup(tmp_path):
    """Two epochs in a process that ends there, and two more by one that finds the backup, are four."""

    class Stops(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def begun():
        keras.utils.set_random_seed(0)
        vae = made()
        vae.head.build((None, 3))
        vae.head.set_weights([np.full(weight.shape, 0.1) for weight in vae.head.weights])
        return vae

    whole = begun()
    fit(whole, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        fit(begun(), epochs=4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), Stops()])
    resumed = made()  # whose head is built by nothing but `fit`
    fit(resumed, epochs=4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    for one, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_an_error_of_its_loss_comes_before_anything_is_trained():
    vae = made()
    with pytest.raises((ValueError, TypeError, AttributeError)):
        vae.fit(X, verbose=0)  # without labels
    fit(vae)
    assert vae.optimizer.iterations == 4
