"""What `fit` says, unasked, of terms that are not finite: once, in words, and nothing where all is well."""

import re
import warnings

import keras
import numpy as np
import pytest
from small import digits, gaussian_vae

from keras_vae.callbacks import CollapseAlarm
from keras_vae.engine import not_finite
from keras_vae.engine.block_size import asks_for_batches

X = digits()[:64]


def broken(steps_per_execution=1, **kwargs):
    """A VAE of which nothing is finite."""
    vae = gaussian_vae(latent=2, units=4)
    vae.compile("sgd", jit_compile=False, steps_per_execution=steps_per_execution, **kwargs)
    vae.build(X.shape)
    vae.decoder.layers[-1].scale.raw.assign(np.nan)
    return vae


def said(vae, x=X, **kwargs):
    """What is said of a fit, and its history."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = vae.fit(x, verbose=0, **kwargs).history
    return [str(each.message) for each in caught if issubclass(each.category, RuntimeWarning)], history


def test_it_is_said_once_which_term_when_and_what_to_do():
    messages, history = said(broken(), epochs=3, initial_epoch=1)
    assert len(history["loss"]) == 2 and len(messages) == 1
    assert messages[0].startswith(
        "fit: not finite: in epoch 2, loss and nll and kl, averaged over the epoch. Lower the"
    )
    assert re.search(r"scale x to about one, .*vae\.adapt\(x\).*CollapseAlarm\(\) finds the batch", messages[0])


def test_each_fit_says_it():
    vae = broken()
    assert [len(said(vae)[0]) for _ in range(2)] == [1, 1]


def test_nothing_is_said_where_all_is_finite():
    vae = gaussian_vae(latent=2, units=4)
    vae.compile("adam", jit_compile=False)
    assert said(vae, epochs=2, validation_data=(X[:32],))[0] == []


def test_validation_s_terms_are_looked_at():
    watch = not_finite.NotFiniteWarning(["nll", "kl"])
    watch.on_epoch_end(0, {"loss": 1.0, "nll": 1.0, "val_loss": 1.0})
    with pytest.warns(RuntimeWarning, match="in epoch 2, val_loss and val_kl, averaged"):
        watch.on_epoch_end(1, {"loss": 1.0, "kl": 1.0, "val_loss": np.inf, "val_kl": np.nan, "other": np.nan})


@pytest.mark.parametrize("wrap", [list, keras.callbacks.CallbackList])
def test_a_collapse_alarm_is_not_said_twice(wrap):
    vae = broken()
    callbacks = [CollapseAlarm()] if wrap is list else wrap([CollapseAlarm()], add_history=True)
    if wrap is not list:
        callbacks.set_model(vae)
    messages, _ = said(vae, callbacks=callbacks)
    assert len(messages) == 1 and messages[0].startswith("CollapseAlarm: not finite: ")


def test_a_list_of_callbacks_is_left_as_it_was():
    vae = broken()
    listed = keras.callbacks.CallbackList([keras.callbacks.Callback()], add_history=True, model=vae)
    before = list(listed.callbacks)
    assert len(said(vae, callbacks=listed)[0]) == 1
    assert listed.callbacks == before


def test_what_terminates_training_does_so():
    messages, history = said(broken(), epochs=5, callbacks=[keras.callbacks.TerminateOnNaN()])
    assert len(messages) == 1 and len(history["loss"]) == 1


def test_it_asks_for_no_batches():
    assert not asks_for_batches(not_finite.NotFiniteWarning(["nll"]))
