"""What it was measured on."""

import os
import pathlib
import platform


def describe():
    """Processor, cores, memory and system, as JSON takes them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_gb": memory and round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor():
    """Linux knows the model; elsewhere the platform module's word counts."""
    info = pathlib.Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
