"""Several objectives as one."""

from typing import Any

import keras

from keras_vae.objectives.base import Objective
from keras_vae.objectives.forward_pass import ForwardPass, Tap


@keras.saving.register_keras_serializable("keras_vae")
class Sum(Objective):
    """The sum of several objectives: the terms of all, each with its weight.

    The first one draws the latents, by its `num_samples` and with its gradient. The others look at those draws.

        objectives = keras_vae.objectives
        objective = objectives.Sum(objectives.ELBO(beta=2.0), objectives.MMD(10.0))
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)
        vae.objective.parts[1].weight = 20.0  # counts from the next step on

    Args:
        *objectives: `keras_vae.objectives` objects, at least one. No two of them have a term in common.

    Raises:
        ValueError: there is none; one is no objective; two have a term of the same name; one that is not the first asks
            for another number of draws than the first, or, when built, for a gradient that only the first can have.

    Attributes:
        parts: the objectives, a list.
    """

    def __init__(self, *objectives: Objective, **kwargs):
        for each in objectives:
            if not isinstance(each, Objective):
                owner, kind = type(self).__name__, type(each).__name__
                advice = f". Write {owner}(a, b), without brackets" if isinstance(each, (list, tuple)) else ""
                raise ValueError(
                    f"{owner}: expected keras_vae.objectives objects, such as ELBO(); received: {each!r} of type "
                    f"{kind}{advice}"
                )
        if not objectives:
            raise ValueError(
                f"{type(self).__name__}: expected at least one objective; received none. Give it some: Sum(ELBO(), "
                "MMD())"
            )
        super().__init__(objectives[0].num_samples, **kwargs)
        self.parts = list(objectives)
        self.check_parts()

    def check_parts(self):
        """Raises ValueError unless the parts go together."""
        owner = {}
        for part in self.parts:
            for name in part.term_weights:
                if name in owner:
                    raise ValueError(
                        f"{type(self).__name__}: expected objectives without a term in common; received the term "
                        f"{name!r} in {owner[name]!r} and in {part!r}, which would count twice. A penalty "
                        "alone, such as MMD() of WAE() or DIP() of DIPVAE(), has no nll."
                    )
                owner[name] = part
            if part.num_samples not in (1, self.num_samples):
                raise ValueError(
                    f"{type(self).__name__}: expected objectives that look at as many draws as the first one makes, "
                    f"num_samples={self.num_samples}; received {part!r}"
                )

    @property
    def term_weights(self) -> dict[str, Any]:
        return {name: weight for part in self.parts for name, weight in part.term_weights.items()}

    def named_parts(self) -> dict[str, Objective]:
        """The parts by the names of their classes: with their places, from 0, where several are of one class."""
        names = [type(part).__name__ for part in self.parts]
        places = (f"_{place}" if names.count(name) > 1 else "" for place, name in enumerate(names))
        return {f"{name}{place}": part for name, place, part in zip(names, places, self.parts, strict=True)}

    def constants(self) -> dict[str, Any]:
        """The constants of all parts, `{"MMD/weight": value}`: see `named_parts`."""
        of_parts = {
            f"{name}/{constant}": value
            for name, part in self.named_parts().items()
            for constant, value in part.constants().items()
        }
        return {**super().constants(), **of_parts}

    def draw(self, posterior: Any, seed: Any) -> Any:
        return self.parts[0].draw(posterior, seed)

    def tap(self, z: Any) -> Tap:
        for part in self.parts[1:]:
            if part.tap(z).probe is not None:
                raise ValueError(
                    f"{type(self).__name__}: expected the objective that changes the gradient of the draws to be the "
                    f"first; received {type(part).__name__} after {type(self.parts[0]).__name__}"
                )
        tap = self.parts[0].tap(z)
        for part in self.parts[1:] if tap.probe is not None else ():
            if "nll" in part.term_weights:
                raise ValueError(
                    f"{type(self).__name__}: expected no term of log p(x|z) beside {type(self.parts[0]).__name__}, "
                    f"which changes the gradient that reaches z through it; received {type(part).__name__}, with the "
                    "term 'nll'"
                )
        return tap

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {name: value for part in self.parts for name, value in part(forward).items()}

    def has_closed_kl(self, posterior: Any, prior: Any) -> bool:
        return all(part.has_closed_kl(posterior, prior) for part in self.parts)

    def learned_values(self) -> dict[str, Any]:
        return {name: value for part in self.parts for name, value in part.learned_values().items()}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("num_samples", None)  # the first one's
        return {**config, "objectives": [keras.saving.serialize_keras_object(part) for part in self.parts]}

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        config = dict(config)
        objectives = [keras.saving.deserialize_keras_object(part) for part in config.pop("objectives")]
        return cls(*objectives, **config)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"
