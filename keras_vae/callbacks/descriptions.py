"""A VAE in words: what it is made of, and what its latents are used for."""

import json

import keras
import numpy as np
from keras import ops

from keras_vae import compat
from keras_vae.callbacks.views import last_layer, likelihood_layer, most_active
from keras_vae.evaluation import ACTIVE_ABOVE
from keras_vae.objectives import Sum
from keras_vae.objectives.values import Schedule, number_of
from keras_vae.optimizers.within import main_optimizer
from keras_vae.reprs import COMMON


def configuration(vae):
    """The choices that make a built VAE, flat: names to numbers and words."""
    found = {
        "latents": int(np.prod(vae.prior.latent_shape)),
        "prior": type(vae.prior).__name__,
        "posterior": type(last_layer(vae.encoder)).__name__,
        "likelihood": type(likelihood_layer(vae)).__name__,
        "objective": type(vae.objective).__name__,
        "num_samples": vae.objective.num_samples,
        "parameters": vae.count_params(),
        "precision": vae.encoder.dtype_policy.name,
        "seed": "none" if vae.seed is None else vae.seed,
    }
    scale = getattr(likelihood_layer(vae), "scale", None)
    found["scale"] = "none" if scale is None else type(scale).__name__
    found |= {f"weight of {name}": shown(weight) for name, weight in vae.objective.term_weights.items()}
    found |= {f"objective/{name}": value for name, value in settings_of(vae.objective).items()}
    optimizer = main_optimizer(vae.optimizer)
    found["optimizer"] = type(optimizer).__name__
    rate = compat.learning_rate_of(optimizer)
    found["learning rate"] = type(rate).__name__ if isinstance(rate, Schedule) else short(optimizer.learning_rate)
    return found


def settings_of(objective):
    """What an objective was made with but `num_samples`, and its constants as they are; a sum's parts by their names.

    `{"level": 2.0, "groups": "unit"}`, or `{"ELBO/beta": 1.0, "MMD/weight": 10.0}`: numbers and words.
    """
    parts = objective.named_parts() if isinstance(objective, Sum) else {}
    constants = {name: value for name, value in objective.constants().items() if "/" not in name}  # of no part
    try:
        config = objective.get_config()
    except NotImplementedError:  # of a network of the user's own, which has none
        config = {}
    # What is an object itself is in its configuration as a dictionary.
    config = {name: getattr(objective, name, each) if isinstance(each, dict) else each for name, each in config.items()}
    left_out = {"num_samples", "objectives", *constants, *COMMON}
    found = {name: shown(constant) for name, constant in constants.items()}
    found |= {name: in_words(each) for name, each in config.items() if name not in left_out}
    for part, of in parts.items():
        found |= {f"{part}/{name}": value for name, value in settings_of(of).items()}
    return found


def in_words(setting):
    """A setting as a number or a word: a network by its class alone."""
    if isinstance(setting, keras.Layer):
        return type(setting).__name__
    return setting if isinstance(setting, (str, bool, int, float)) else "none" if setting is None else str(setting)


def shown(constant):
    """A constant of an objective as its number; a schedule as its class's name."""
    if isinstance(constant, Schedule):
        return type(constant).__name__
    is_learned = ops.is_tensor(constant) and not isinstance(constant, keras.Variable)
    return "learned" if is_learned else number_of(constant)


def short(number):
    """A variable's number, without what float32 adds to 0.001."""
    return float(f"{float(ops.convert_to_numpy(number)):.6g}")


def as_markdown(vae, hparams):
    """The configuration as a table, and then all of it as Keras has it."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in hparams.items())
    try:
        whole = f"```json\n{json.dumps(vae.get_config(), indent=2, default=str)}\n```"
    except Exception as error:  # of a network of the user's own, which has none
        whole = f"No configuration as Keras has it: {error}"
    return f"| setting | value |\n| --- | --- |\n{rows}\n\n{whole}"


def summary_as_markdown(vae):
    """`vae.summary()`, networks unfolded, as a block of code."""
    lines = []
    vae.summary(line_length=100, expand_nested=True, print_fn=lambda line, **_: lines.append(line))
    return "```text\n" + "\n".join(lines) + "\n```"


def units_as_markdown(latents):
    """A table of the latents, most active first: of posterior means the variance, and of each unit the KL, if known."""
    variances = latents.activity.reshape(-1)
    kl = (
        ["-"] * variances.size
        if latents.kl is None
        else [f"{each:.3f}" for each in latents.kl.mean(axis=0).reshape(-1)]
    )
    rows = "\n".join(
        f"| {unit} | {variances[unit]:.4f} | {kl[unit]} | {'yes' if variances[unit] > ACTIVE_ABOVE else 'no'} |"
        for unit in most_active(latents)
    )
    head = "| unit | variance of its posterior mean | KL, nats | active |\n| ---: | ---: | ---: | --- |"
    return f"{head}\n{rows}\n\n{kl_in_words(latents)}"


def kl_in_words(latents):
    """What the KL of a unit is, and how it was found; or why there is none."""
    if latents.kl is None:
        return "KL: left out, for posterior or prior have no density that is known of a unit on its own."
    return f"KL: KL(q(u|x) || p(u)) of each unit u on its own, {latents.kl_by}, averaged over the examples."
