"""The names of terms, under which they are weighed, logged and exported: none is another thing's."""

from keras_vae.checks import is_number
from keras_vae.objectives.forward_pass import OF_PARTS
from keras_vae.objectives.values import Schedule

# What the model calls so, whatever its objective.
TAKEN = {
    "elbo": "the bound, -(nll + kl)",
    "loss": "what is minimised",
    "reconstruction": "the decoder's mean of x",
    "log_likelihood": "log p(x)",
    "log_prob_of_elements": "log p(x|z) of each element",
}


def names_of_terms(objective):
    """What is reported of any x: `nll` and `kl`, whatever is minimised, and the objective's terms; a list.

    Raises:
        ValueError: a term has a name that the model gives to something else.
    """
    weights = objective.term_weights
    if not isinstance(weights, dict) or not all(map(is_weight, weights.values())):
        raise ValueError(
            f"{type(objective).__name__}: expected `term_weights` to be a property that returns a dictionary of "
            f"numbers, tensors or schedules; received: {weights!r}"
        )
    for name in weights:
        check_name(objective, name, TAKEN)
        if name.startswith(OF_PARTS):
            check_name(objective, name, {name: "a part's share of the nll"})
    return list(dict.fromkeys(["nll", "kl", *objective.term_weights]))


def is_weight(value):
    """Whether a value may be a term's weight: a number, a tensor or variable of one, or a schedule."""
    return is_number(value) or isinstance(value, Schedule) or tuple(getattr(value, "shape", (None,))) == ()


def check_name(objective, name, taken):
    """Raises ValueError if a term is called as the model calls something else.

    Args:
        taken: `{name: what it is}`.
    """
    if name in taken:
        raise ValueError(
            f"{type(objective).__name__}: expected terms with names of their own; received a term {name!r}, as the "
            f"model calls {taken[name]}. Give it another name."
        )
