"""What the machine itself allows: the matrix products of a workload and nothing else, and the rate of copying memory.

    python floor.py '{"workload": {...}}'

Answers commands as `worker.py` does. The products are exactly those of a step, forward and backward, on operands of
their shapes; a convolution counts as the product of its unfolded image and its kernel. Each is measured as TensorFlow
runs it, with XLA and without, and the faster counts.
"""

import itertools
import math
import os
import sys
import threading
import time
import typing

import numpy as np
import workloads
from serving import serve

# Floating-point operations a call, so that calling costs little.
LEAST_WORK = {"CPU": 2e9, "GPU": 2e10}
COPIED_BYTES = 2**28


class Product(typing.NamedTuple):
    """`[rows, inner] @ [inner, columns]`, rows for each image."""

    rows: int
    inner: int
    columns: int
    first: bool = False  # whether its left operand is data, which needs no gradient


def products(workload):
    """The forward products of a training step, or of a step of importance sampling: its decoder's alone."""
    draws = workload.importance_samples or workload.num_samples
    if workload.convolutional:
        encoder = [
            Product(14 * 14, 9 * 1, 32, first=True),
            Product(7 * 7, 9 * 32, 64),
            Product(1, 7 * 7 * 64, 16),
            Product(1, 16, 2 * workload.latent),
        ]
        decoder = [
            Product(draws, workload.latent, 7 * 7 * 64),
            Product(draws * 7 * 7, 64, 9 * 64),  # a transposed convolution scatters from its input's grid
            Product(draws * 14 * 14, 64, 9 * 32),
            Product(draws * 28 * 28, 32, 9 * 1),
        ]
    else:
        outputs = workload.parameters * workload.event_size
        encoder = _dense(1, [workload.event_size, *workload.hidden, 2 * workload.latent], first=True)
        decoder = _dense(draws, [workload.latent, *reversed(workload.hidden), outputs])
    return decoder if workload.importance_samples else encoder + decoder


def _dense(rows, widths, first=False):
    return [
        Product(rows, inner, columns, first and index == 0)
        for index, (inner, columns) in enumerate(itertools.pairwise(widths))
    ]


def operations(workload):
    """Floating-point operations an image."""
    passes = 1 if workload.importance_samples else 3
    return sum(
        2 * math.prod((each.rows, each.inner, each.columns)) * (passes - (each.first and passes > 1))
        for each in products(workload)
    )


class Server:
    """Carries out commands: the public methods, by name."""

    def __init__(self, workload):
        self.workload = workloads.from_dict(workload)
        # An image's draws go through the decoder by the thousand, not all 5,000 at once.
        self.images = 0.2 if self.workload.importance_samples else self.workload.batch_size

    def start(self):
        """Builds the programs, and says what they run on."""
        import tensorflow as tf

        self.tf = tf
        gpus = tf.config.list_physical_devices("GPU")
        least = LEAST_WORK["GPU" if gpus else "CPU"]
        repeats = max(1, round(least / (self.images * operations(self.workload))))
        self.images_a_call = self.images * repeats
        # Other activations for each repeat, or TensorFlow would compute once what is asked for twice; the same weights.
        kernels = [self._draw(each.inner, each.columns) for each in products(self.workload)]
        activations = [
            [
                (self._draw(round(self.images * each.rows), size) if size else None)
                for each in products(self.workload)
                for size in (each.inner, 0 if self.workload.importance_samples else each.columns)
            ]
            for _ in range(repeats)
        ]

        def step():
            results = []
            for operands in activations:
                for index, (each, kernel) in enumerate(zip(products(self.workload), kernels, strict=True)):
                    x, gradient = operands[2 * index : 2 * index + 2]
                    results.append(tf.matmul(x, kernel))
                    if gradient is not None:
                        results.append(tf.matmul(x, gradient, transpose_a=True))
                        if not each.first:
                            results.append(tf.matmul(gradient, kernel, transpose_b=True))
            return results

        self.programs = [tf.function(step, jit_compile=xla, autograph=False) for xla in (False, True)]
        for program in self.programs:
            program()
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
        return {"device": name, "operations_per_image": operations(self.workload)}

    def round(self, seconds):
        """The products for so many seconds with each program: images/s of the faster."""
        rate = max(self.images_a_call * self._calls_per_second(program, seconds / 2) for program in self.programs)
        return {"images_per_s": rate, "gflops": rate * operations(self.workload) / 1e9}

    def copy(self):
        """GB/s read and written by copying memory, on all cores, or on the accelerator."""
        if self.tf.config.list_physical_devices("GPU"):
            source = self.tf.random.normal([COPIED_BYTES // 4])
            double = self.tf.function(lambda: source * 2.0, jit_compile=True)
            double()
            rate = self._calls_per_second(double, 1.0)
        else:
            source = np.ones(COPIED_BYTES // 4, "float32")
            target, cores = np.zeros_like(source), len(_cores())
            pieces = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))

            def copy():
                threads = [threading.Thread(target=np.copyto, args=piece) for piece in pieces]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            rate = self._calls_per_second(copy, 1.0)
        return {"copy_gb_per_s": 2 * COPIED_BYTES * rate / 1e9}

    def _calls_per_second(self, program, seconds):
        calls, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not calls:
            program()
            self.tf.test.experimental.sync_devices()
            calls += 1
        return calls / elapsed

    def _draw(self, *shape):
        return self.tf.random.normal(shape)


def _cores():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())


if __name__ == "__main__":
    serve(Server, sys.argv[1])
