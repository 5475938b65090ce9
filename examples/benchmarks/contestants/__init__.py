"""Who is compared: a row a contestant. Each runs in a process of its own, which imports its module alone."""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import shutil


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contestant: the module in this folder whose `build(workload, train, seed, **options)` makes it."""

    label: str
    module: str
    options: dict = dataclasses.field(default_factory=dict)
    packages: tuple = ("tensorflow", "keras", "tensorflow_probability")
    programs: tuple = ()
    compiles_long: bool = False
    on_request: bool = False  # only where it is named

    def missing(self):
        """Why it cannot run here, or None."""
        packages = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if packages:
            return f'{" and ".join(packages)} not installed: pip install "keras_vae[bench]"'
        programs = [name for name in self.programs if shutil.which(name) is None]
        return f"needs the program {' and '.join(programs)}" if programs else None

    def load(self):
        """Imports its module, and with that its framework."""
        return importlib.import_module(f"contestants.{self.module}")

    def versions(self):
        """The versions of its packages, by name."""
        return {name: importlib.metadata.version(name.replace("_", "-")) for name in self.packages}

    def build(self, workload, train, seed):
        """The `Contestant`, ready for its first step."""
        return self.load().build(workload, train, seed, **self.options)


TF_KERAS = ("tensorflow", "tf_keras", "tensorflow_probability")

CONTESTANTS = {
    "keras_vae": Entry("keras_vae, vae.fit(x)", "keras_vae"),
    "keras_vae_xla": Entry("keras_vae, jit_compile=True", "keras_vae", {"jit_compile": True}, on_request=True),
    "keras_vae_no_xla": Entry("keras_vae, jit_compile=False", "keras_vae", {"jit_compile": False}, on_request=True),
    "keras_custom_step": Entry("Keras, custom train_step", "keras_custom_step", {"xla": False}),
    "keras_custom_step_xla": Entry("Keras, custom train_step, XLA", "keras_custom_step", {"xla": True}),
    "keras_tfp": Entry("Keras, add_loss over TFP", "keras_tfp", {"xla": False}),
    "keras_tfp_xla": Entry("Keras, add_loss over TFP, XLA", "keras_tfp", {"xla": True}),
    "tf_keras_tfp": Entry("tf_keras, tfp.layers", "tf_keras_tfp", {"xla": False}, TF_KERAS),
    "tf_keras_tfp_xla": Entry("tf_keras, tfp.layers, XLA", "tf_keras_tfp", {"xla": True}, TF_KERAS),
    "pytorch": Entry("PyTorch", "pytorch", {"compiled": False}, ("torch",)),
    "pytorch_compiled": Entry("PyTorch, torch.compile", "pytorch", {"compiled": True}, ("torch",), ("g++",), True),
    "jax_scan": Entry("JAX and optax, scanned", "jax_scan", {}, ("jax", "optax")),
}
