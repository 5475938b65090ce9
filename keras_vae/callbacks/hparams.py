"""An entry of a run in TensorBoard's table of hyperparameters."""

import numbers

import numpy as np
import tensorflow as tf

# What the table shows of each run, by the sub-folder and the tag under which Keras has it.
METRICS = [
    ("validation", "epoch_elbo", "ELBO, validation"),
    ("validation", "epoch_nll", "NLL, validation"),
    ("validation", "epoch_kl", "KL, validation"),
    ("train", "epoch_elbo", "ELBO, training"),
    ("train", "latent/active_units", "active units"),
]


def check_hparams(hparams):
    """Raises ValueError unless these are None or a dictionary of what a table can hold."""
    is_table = hparams is None or (
        isinstance(hparams, dict)
        and all(isinstance(name, str) for name in hparams)
        and all(isinstance(value, (str, bool, np.bool_, numbers.Real)) for value in hparams.values())
    )
    if not is_table:
        raise ValueError(
            f"TensorBoard: expected `hparams` to be a dictionary of names to numbers and words; received: {hparams!r}"
        )


def start_session(hparams, name):
    """Writes the run's hyperparameters, and which of its scalars the table is to show, to the default writer."""
    from tensorboard.plugins.hparams import api

    metrics = [api.Metric(tag, group=group, display_name=title) for group, tag, title in METRICS]
    api.hparams_config([api.HParam(each) for each in hparams], metrics)
    values = {each: value.item() if isinstance(value, np.generic) else value for each, value in hparams.items()}
    api.hparams(values, trial_id=name)


def end_session():
    """Writes that the run is over."""
    from tensorboard.plugins.hparams import api_pb2, summary

    message = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
    tf.summary.experimental.write_raw_pb(message.SerializeToString())
