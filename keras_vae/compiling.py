"""How a model's steps are compiled: `compile`, the step functions, and what `summary` says of them."""

import threading
from typing import Any

import keras

from keras_vae.checks import check_integer
from keras_vae.engine import Engine
from keras_vae.optimizers import Routed
from keras_vae.optimizers.within import optimizers_within
from keras_vae.terms import TermModel


class Compiled(TermModel):
    """A `TermModel` whose steps its engine runs, compiled as suits its layers.

    Args:
        objective, target: as of `TermModel`.
    """

    def __init__(self, objective, target=None, **kwargs):
        super().__init__(objective, target, **kwargs)
        self.fed = threading.local()  # what suits the data that a thread feeds
        self.engine = Engine(self)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        *,
        jit_compile: bool | str = "auto",
        steps_per_execution: int | str = "auto",
        **kwargs,
    ) -> None:
        """Configures training, as `keras.Model.compile` but for the loss, which is the objective's.

        Args:
            optimizer: name or instance of a Keras optimizer.
            loss: must stay None.
            jit_compile: True for the whole step as one XLA program, False for the loss ops alone as XLA programs, or
                "auto" for what is faster: see `keras_vae.backend.xla_choice`. `summary()` says which, and why.
            steps_per_execution: how many batches pass through one program before callbacks see them; or "auto": in
                `fit` and `evaluate` a few dozen, or one where a callback asks for batches.
            **kwargs: as of `keras.Model.compile`; `metrics` compare x with its reconstruction.

        Raises:
            ValueError: `loss` or `loss_weights` is given; `jit_compile` or `steps_per_execution` is not as above.
        """
        if loss is not None or kwargs.get("loss_weights") is not None:
            raise ValueError(
                "compile: expected no `loss` and no `loss_weights`, since the loss is the VAE's objective; received: "
                f"loss={loss!r}, loss_weights={kwargs.get('loss_weights')!r}. Choose the likelihood as the decoder's "
                "last layer, and weights in the objective: VAE(encoder, decoder, objective=ELBO(beta=...))."
            )
        if jit_compile not in (True, False, "auto"):
            raise ValueError(f"compile: expected `jit_compile` to be True, False or 'auto'; received: {jit_compile!r}")
        if steps_per_execution != "auto":
            check_integer("compile", "steps_per_execution", steps_per_execution)
        self.compile_request = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        self.compile_reason = "as asked"
        if jit_compile == "auto" and not kwargs.get("run_eagerly"):
            jit_compile, self.compile_reason = self.engine.best_compilation()
        steps = 1 if steps_per_execution == "auto" else steps_per_execution
        with self.distribute_strategy.scope():
            super().compile(optimizer, jit_compile=jit_compile, steps_per_execution=steps, **kwargs)
        self.engine.adapt_optimizer()
        self.engine.forget_programs()

    def get_compile_config(self):
        for each in optimizers_within(self.optimizer) if self.built and self.compiled else ():
            if isinstance(each, Routed) and not each.built:
                each.route(self.trainable_variables)  # which a file must know, also before `fit`
        config = super().get_compile_config()
        return config and {**config, **self.compile_request}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def summary(self, *args, print_fn=None, **kwargs):
        """Prints a summary, as `keras.Model.summary`, how training steps are compiled, and where the KL comes from."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        if self.compiled:
            (print_fn or print)(f"Training steps: {self.compilation}")
        if self.known.kl is not None:
            (print_fn or print)(f"KL: {self.known.kl}")

    @property
    def steps_per_execution(self):
        """How many batches a call of a step function takes: as compiled, or as suits what this thread feeds."""
        return getattr(getattr(self, "fed", None), "steps", self.compiled_steps)

    @steps_per_execution.setter
    def steps_per_execution(self, steps):  # by Keras, before all else
        self.compiled_steps = steps

    @property
    def compilation(self):
        """How training steps are compiled, and why, in words."""
        if self.run_eagerly:
            return "run eagerly, as asked"
        if not self.jit_compile:
            return f"loss ops as XLA programs, networks outside ({self.compile_reason})"
        where = " a replica, the optimizer outside" if self.engine.is_replicated else ""
        return f"one XLA program{where} ({self.compile_reason})"

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            super().make_train_function(force=True)
            self.train_function = self.engine.step_function(self.train_step, self.train_function, training=True)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            super().make_test_function(force=True)
            self.test_function = self.engine.step_function(self.test_step, self.test_function, training=False)

    def make_predict_function(self, force=False):
        if self.predict_function is None or force:
            self.predict_function = self.engine.predict_function(self)
            if self.predict_function is None:
                super().make_predict_function(force=True)

    def forget_steps(self):
        """Has programs traced anew that know what the model was: its objective, or a Normalization's mean."""
        self.engine.forget_programs()
        if self.train_function is not None:
            self.make_train_function(force=True)
        if self.test_function is not None:
            self.make_test_function(force=True)
        self.predict_function = None

    def builds_from_data(self):
        return self.engine.builds_from_data()

    def check_compiled(self, method):
        if not self.compiled:
            raise ValueError(
                f"{method}: expected a compiled model; received one that is not. You must call `compile()`."
            )

    def choose_compilation(self, has_sparse=False):
        """Chooses anew how steps are compiled, if that was left to the model: now that all layers are there.

        Args:
            has_sparse: whether a part of x is sparse, and stays so.
        """
        if not self.compiled or self.compile_request["jit_compile"] != "auto" or self.run_eagerly:
            return
        best, self.compile_reason = self.engine.best_compilation(has_sparse)
        if best != self.jit_compile:
            self.jit_compile = best
            self.train_function = self.test_function = self.predict_function = None
