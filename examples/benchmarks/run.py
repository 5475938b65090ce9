"""keras_vae against its peers: one table, one JSON and one figure.

    python examples/benchmarks/run.py                      # everything; about 45 minutes on two cores
    python examples/benchmarks/run.py --quick              # fewer images, epochs and rounds
    python examples/benchmarks/run.py --data-dir FOLDER    # mnist.npz and freyfaces.npz from there
    python examples/benchmarks/run.py --workloads mlp --contestants keras_vae jax_scan

`make bench` runs it in an environment of its own. It needs `pip install "keras_vae[bench]"`; a contestant whose package
is absent is left out, and the table says so. It runs unchanged on a GPU, and the table names the device.

A contestant runs in a process of its own, alone: the others wait. Rounds are interleaved, so that a machine which slows
down slows everybody. Images/s are those of whole epochs, after a first one that warms up; the median of the rounds
counts. Everybody trains for as many epochs, and whose test bound is not then within the tolerance of the median of all
is void: it computed something else.
"""

import argparse
import dataclasses
import json
import pathlib
import shlex
import sys
import tempfile

import data
import figure
import machine
import match
import report
import scaling
from contestants import CONTESTANTS
from workloads import WORKLOADS

ALL = "default: all but keras_vae_xla and keras_vae_no_xla, and with --quick not those that compile for long"


def main():
    args = parse_arguments()
    results = {
        "command": shlex.join([pathlib.Path(sys.executable).name, *sys.argv]),
        "quick": args.quick,
        "machine": machine.describe(),
        "workloads": {},
    }
    names = {name: CONTESTANTS[name].missing() for name in args.contestants}
    for name in args.workloads:
        workload = WORKLOADS[name]
        effort = effort_of(workload, args)
        print(f"{workload.title}:", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            try:
                effort = data.prepare(workload, effort, args.data_dir, pathlib.Path(folder))
            except data.Missing as missing:
                results["workloads"][name] = {"title": workload.title, "missing": str(missing)}
                continue
            results["workloads"][name] = match.play(workload, effort, names, folder, args.seed)
        write(results, args.out)
    results["scaling"] = {axis: scaling.measure(axis, args.quick, args.seed) for axis in args.scaling}
    write(results, args.out)
    figure.draw(results).savefig(args.out / "benchmarks.png", dpi=110)
    print(report.text(results))
    print("Written:", *[args.out / f"benchmarks.{kind}" for kind in ("json", "png")], sep="\n  ")
    if all("missing" in result for result in results["workloads"].values()) and args.workloads:
        sys.exit("benchmarks: no data for any of the workloads")


def parse_arguments():
    lists = {"Workloads": WORKLOADS, "Contestants": CONTESTANTS, "Axes of the scaling (may be none)": scaling.AXES}
    parser = argparse.ArgumentParser(
        description="Measure keras_vae against its peers.",
        epilog=" ".join(f"{title}: {', '.join(names)}." for title, names in lists.items()),
    )
    parser.add_argument("--quick", action="store_true", help="fewer images, epochs and rounds")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME", help=ALL)
    parser.add_argument("--scaling", nargs="*", choices=scaling.AXES, default=list(scaling.AXES), metavar="AXIS")
    parser.add_argument("--rounds", type=int, help="default: a workload's own")
    parser.add_argument("--images", type=int, help="how many to train on an epoch, at most; default: a workload's own")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where mnist.npz and freyfaces.npz are")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default="benchmarks", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of weights and noise; default: %(default)s")
    args = parser.parse_args()
    for name in ("rounds", "images"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name}: expected an integer of at least 1; received: {value}")
    if args.data_dir is not None and not args.data_dir.is_dir():
        parser.error(f"--data-dir: no such folder: {args.data_dir}")
    if args.contestants is None:
        args.contestants = [
            name
            for name, entry in CONTESTANTS.items()
            if not (entry.on_request or (args.quick and entry.compiles_long))
        ]
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def effort_of(workload, args):
    """The workload's effort, less what the command line takes off."""
    effort = workload.quick if args.quick else workload.full
    changes = {} if args.rounds is None else {"rounds": args.rounds}
    if args.images is not None:
        changes["train_images"] = min(args.images, effort.train_images)
    return dataclasses.replace(effort, **changes)


def write(results, folder):
    """The results so far, as JSON."""
    (folder / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
