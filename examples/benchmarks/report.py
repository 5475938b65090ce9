"""The results as text: Markdown, so that the table can be pasted where it is read."""

import workloads

COLUMNS = [
    "",
    "images/s",
    "of floor",
    "against keras_vae",
    "first step, s",
    "warm-up, s",
    "peak memory, MiB",
    "longest wait, s",
    "nats",
]


def text(results):
    """The whole report."""
    parts = [_machine(results)]
    for result in results["workloads"].values():
        parts.append(f"### {result['title']}")
        parts.append(f"Left out: {result['missing']}." if "missing" in result else _workload(result))
    if results["scaling"]:
        parts += ["### How keras_vae scales", _scaling(results["scaling"])]
    return "\n\n".join(parts) + "\n"


def _machine(results):
    it = results["machine"]
    versions = {
        name: version
        for result in results["workloads"].values()
        for player in result.get("contestants", {}).values()
        for name, version in player.get("versions", {}).items()
    }
    packages = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    memory = f", {it['memory_gb']} GiB" if it["memory_gb"] else ""
    return (
        f"`{results['command']}`\n\n{it['processor']}, {it['cores']} cores{memory}; {it['system']}; "
        f"Python {it['python']}, {packages}."
    )


def _workload(result):
    floor, players = result["floor"], result["contestants"]
    effort, workload = result["effort"], result["workload"]
    gflops = floor["images_per_s"] * floor["operations_per_image"] / 1e9
    timed = (
        f"{effort['scored_images']} images a round"
        if workload["importance_samples"]
        else f"{effort['epochs']} epoch(s) of {effort['train_images']:,} images a round"
    )
    lines = [
        f"{effort['rounds']} rounds, {timed}. On {floor['device']}. Floor, matrix products alone: "
        f"{_number(floor['images_per_s'])} images/s, at {gflops:.0f} GFLOP/s; copying moves "
        f"{floor['copy_gb_per_s']:.0f} GB/s.",
        "",
        _row(COLUMNS),
        _row(["---", *["---:"] * (len(COLUMNS) - 1)]),
    ]
    ours = players.get("keras_vae", {}).get("images_per_s")
    finished = [player for player in players.values() if "images_per_s" in player]
    for player in sorted(finished, key=lambda each: -each["images_per_s"]):
        lines.append(_row(_cells(player, floor, ours)))
    lines.append("")
    lines += [
        f"- {player['label']}: {player['status']}: {player['reason']}"
        for player in players.values()
        if "reason" in player
    ]
    quantity = "log p(x)" if workload["importance_samples"] else f"test {workloads.from_dict(workload).bound}"
    lines.append(f"- nats: {quantity}; void beyond {effort['tolerance']:g} of the median of all.")
    return "\n".join(lines)


def _cells(player, floor, ours):
    """A contestant's row."""
    rate = player["images_per_s"]
    label = player["label"] + ("" if player["device"] == floor["device"] else f" (on {player['device']})")
    memory = f"{player['peak_mb']:.0f}"
    if player["device_peak_mb"] is not None:
        memory += f" + {player['device_peak_mb']:.0f} on the device"
    # Beyond the first batch's wait, whatever made one epoch longer than the median.
    waits = [*(player.get("waits_s") or []), player.get("slowest_epoch_excess_s")]
    waits = [each for each in waits if each is not None]
    return [
        label + (" **void**" if player["status"] == "void" else ""),
        f"{_number(rate)} ({_number(min(player['rates']))} to {_number(max(player['rates']))})",
        f"{rate / floor['images_per_s']:.0%}",
        f"{rate / ours:.2f}" if ours else "",
        f"{player['first_step_s']:.2f}",
        f"{player['warm_up_s']:.2f}",
        memory,
        f"{max(waits):.2f}" if waits else "",
        f"{player['nats']:.2f}",
    ]


def _scaling(scaling):
    lines = [_row(["size", "value", "µs an image", "memory beyond the libraries', MiB"]), _row(["---", *["---:"] * 3])]
    for axis in scaling.values():
        for point in axis["points"]:
            measured = (
                [point["failed"], ""]
                if "failed" in point
                else [f"{point['seconds_per_image'] * 1e6:,.1f}", f"{point['memory_mb']:,.0f}"]
            )
            lines.append(_row([axis["label"], f"{point['value']:,}", *measured]))
    return "\n".join(lines)


def _row(cells):
    return f"| {' | '.join(cells)} |"


def _number(rate):
    """A rate with three figures that count."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
