"""How far seeds alone move the test bound: what the tolerances in `workloads.py` were set from.

    python examples/benchmarks/spread.py --workload mlp --seeds 8 --data-dir FOLDER [--quick] [--contestant jax_scan]

Trains one contestant as `run.py` would, for as many epochs, from several seeds, and prints the standard deviation of
what it reached. A tolerance is five of them, rounded up: a contestant that computes the same thing is then void in
about one comparison in a million.
"""

import argparse
import pathlib
import statistics
import tempfile

import data
import process
from contestants import CONTESTANTS
from workloads import WORKLOADS


def main():
    parser = argparse.ArgumentParser(description="Measure how far seeds alone move the test bound.")
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--contestant", choices=CONTESTANTS, default="keras_vae")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER")
    args = parser.parse_args()
    workload = WORKLOADS[args.workload]
    effort = workload.quick if args.quick else workload.full
    with tempfile.TemporaryDirectory() as folder:
        effort = data.prepare(workload, effort, args.data_dir, pathlib.Path(folder))
        nats = []
        for seed in range(args.seeds):
            nats.append(reached(args.contestant, workload, effort, folder, seed))
            print(f"{args.workload}, seed {seed}: {nats[-1]:.2f} nats", flush=True)
    print(f"standard deviation {statistics.stdev(nats):.3f}")


def reached(contestant, workload, effort, folder, seed):
    """The test bound, or log p(x), after as many epochs as a run has."""
    worker = process.worker(contestant, workload, folder, seed)
    try:
        worker.ask("start")
        worker.ask("build")
        if workload.importance_samples:
            worker.ask("train", epochs=1 + effort.epochs)
            return worker.ask("score", images=effort.scored_images)["log_p"]
        worker.ask("train", epochs=1)
        bounds = []
        for _ in range(effort.rounds):
            worker.ask("train", epochs=effort.epochs)
            bounds.append(worker.ask("bound")["bound"])
        return max(bounds)
    finally:
        worker.close()


if __name__ == "__main__":
    main()
