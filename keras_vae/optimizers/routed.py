"""An optimizer that gives some layers' weights optimizers of their own."""

import weakref
from typing import Any

import keras

from keras_vae.optimizers.within import main_optimizer


@keras.saving.register_keras_serializable("keras_vae")
class Routed(keras.optimizers.Optimizer):
    """Gives the weights of some layers optimizers of their own, and all others the main one.

        slow = keras.optimizers.SGD(1e-4)
        vae.compile(keras_vae.optimizers.Routed("adam", {vae.decoder: slow}))

    To all else it is one Keras optimizer. Its `learning_rate`, which callbacks read and set, and its `iterations` are
    the main one's. Each optimizer clips, accumulates, decays and averages the weights that it has, and a
    `global_clipnorm` is of their gradients. Under mixed_float16 Keras puts a `LossScaleOptimizer` around it.

    A file holds the state of each, and which weights each has. It knows them by their places among the weights that the
    model trains, as it knows all state of optimizers.

    Args:
        optimizer: the main one, of all weights that have no other: a Keras optimizer, or its name.
        routes: the others, `{layer: optimizer}`. A layer may be a model, or an objective; all that is within it goes
            with it. A tuple of places among the trained weights may stand for a layer, as it does in a file.
        name: as of Keras's optimizers.

    Attributes:
        inner_optimizer: the main optimizer, under the name by which Keras's callbacks look for it.
        others: those of the routes, a list.

    Raises:
        ValueError: `routes` is empty, no dictionary, or has a key that is no layer; an optimizer is none, is built,
            stands in two places, is a `Routed` or a `LossScaleOptimizer`, or has a `loss_scale_factor`; when built, a
            layer has no weight that is trained, a weight is of two routes, or none is left to the main optimizer; in
            `get_config`, it does not know the model's weights: the model is not built.
    """

    def __init__(self, optimizer: Any, routes: dict[Any, Any], name: str | None = None):
        super().__init__(learning_rate=0.0, name=name)
        if not isinstance(routes, dict) or not routes or not all(map(can_be_key, routes)):
            raise ValueError(
                "Routed: expected `routes` to be a dictionary of optimizers by layer, such as {vae.objective: "
                f"keras.optimizers.Adam(1e-4)}}; received: {routes!r}"
            )
        self.inner_optimizer = checked("optimizer", optimizer)
        self.others = [checked(f"routes[{key!r}]", each) for key, each in routes.items()]
        if len({id(each) for each in self.optimizers_in_order()}) <= len(routes):
            raise ValueError(
                "Routed: expected another optimizer for each layer, since it has a state of its own; received one that "
                "stands in two places"
            )
        # Not layers themselves, which Keras would save as a part of the optimizer.
        self.keys = [key if isinstance(key, tuple) else weakref.ref(key) for key in routes]
        self.places = None  # a number for each trained weight: 0 for the main optimizer, or that of a route, from 1
        self.place_by_id = {}

    def optimizers_in_order(self) -> list[Any]:
        """The main optimizer, and those of the routes."""
        return [self.inner_optimizer, *self.others]

    @property
    def learning_rate(self):
        """The main optimizer's learning rate."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self):
        """The main optimizer's count of steps."""
        return self.inner_optimizer.iterations

    @property
    def variables(self):
        return [variable for each in self.optimizers_in_order() for variable in each.variables]

    def route(self, variables: list[Any]) -> list[int]:
        """Notes which optimizer each of the weights that a model trains has: what a file must know, built or not.

        Returns:
            a number for each: 0 for the main optimizer, or that of a route, from 1.

        Raises:
            ValueError: the routes do not fit these weights.
        """
        places = [0] * len(variables)
        for number, key in enumerate(self.keys, 1):
            for index in places_of(key, variables):
                if places[index]:
                    path = variables[index].path
                    raise ValueError(f"Routed: expected a weight to be of one route at most; received two for {path!r}")
                places[index] = number
        if 0 not in places:
            raise ValueError(
                "Routed: expected the main optimizer to have weights that no route has; received routes for all "
                f"{len(places)} that are trained. Take the main optimizer alone."
            )
        self.places = places
        return places

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        places = self.route(variables)
        super().build(variables)
        self.place_by_id = {id(variable): place for variable, place in zip(variables, places, strict=True)}
        for each, owned in zip(self.optimizers_in_order(), self.grouped(places, variables), strict=True):
            each.build(owned)

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        if trainable_variables is None:
            raise ValueError("Routed: expected `apply` to be given gradients and variables; received no variables")
        trainable_variables = list(trainable_variables)
        self.build(trainable_variables)
        places = self.places_among(trainable_variables)
        parts = self.grouped(places, grads), self.grouped(places, trainable_variables)
        for each, gradients, owned in zip(self.optimizers_in_order(), *parts, strict=True):
            each.apply(gradients, owned)

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        owned = self.grouped(self.places_among(var_list), var_list)
        for each, part in zip(self.optimizers_in_order(), owned, strict=True):
            each.finalize_variable_values(part)

    def places_among(self, variables):
        """The number of each one's optimizer. The main one says so if it does not know a variable."""
        return [self.place_by_id.get(id(variable), 0) for variable in variables]

    def grouped(self, places, values):
        """Values as a list for each optimizer."""
        groups = [[] for _ in self.optimizers_in_order()]
        for place, value in zip(places, values, strict=True):
            groups[place].append(value)
        return groups

    def save_own_variables(self, store):
        """Nothing: Keras saves each of the optimizers as what it is."""

    def load_own_variables(self, store):
        """Nothing: see `save_own_variables`."""

    def get_config(self) -> dict[str, Any]:
        if self.places is None:
            raise ValueError(
                "Routed: expected an optimizer that knows the model's weights, so that a file can say which go where; "
                "received one that does not. Save the model after `fit`, or build it first. A model that is no VAE "
                "needs its optimizer built, too: model.optimizer.build(model.trainable_variables)."
            )
        by_route = [[index for index, place in enumerate(self.places) if place == n + 1] for n in range(len(self.keys))]
        optimizers = map(keras.saving.serialize_keras_object, self.others)
        return {
            "name": self.name,
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "routes": [list(route) for route in zip(by_route, optimizers, strict=True)],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None):
        def deserialize(config):
            return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)

        routes = {tuple(places): deserialize(each) for places, each in config["routes"]}
        return cls(deserialize(config["optimizer"]), routes, config["name"])


def can_be_key(key):
    """Whether a route may be of this: a layer, or places among weights."""
    return isinstance(key, keras.Layer) or (isinstance(key, tuple) and all(isinstance(each, int) for each in key))


def places_of(key, variables):
    """The places among variables of those that a key stands for."""
    if isinstance(key, tuple):
        if not key or not 0 <= min(key) <= max(key) < len(variables):
            raise ValueError(f"Routed: expected places among {len(variables)} trained weights; received: {key}")
        return key
    layer = key()
    owned = set() if layer is None else {id(variable) for variable in layer.trainable_variables}
    found = [index for index, variable in enumerate(variables) if id(variable) in owned]
    if not found:
        raise ValueError(
            f"Routed: expected weights of {layer!r} among the {len(variables)} that are trained; found none. Is it a "
            "part of this model, built with it, and trainable?"
        )
    return found


def checked(role, optimizer):
    """The optimizer of an argument, if it can be one of several."""
    optimizer = keras.optimizers.get(optimizer) if isinstance(optimizer, str) else optimizer
    reason = None
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        reason = "which is none"
    elif main_optimizer(optimizer) is not optimizer:
        reason = "which has others within. A LossScaleOptimizer goes around the Routed; all routes go into one"
    elif optimizer.built:
        reason = "which is built, for other weights"
    elif optimizer.loss_scale_factor is not None:
        reason = "which has a loss_scale_factor. Put keras.optimizers.LossScaleOptimizer around the Routed"
    if reason:
        raise ValueError(f"Routed: expected `{role}` to be a new Keras optimizer; received: {optimizer!r}, {reason}.")
    return optimizer
