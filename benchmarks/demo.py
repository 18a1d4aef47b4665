"""Wall time and peak memory of the recipe `demo`, with the language model on and off.

    .venv/bin/python benchmarks/demo.py [--nproc 2]

Memory is the sum over all processes of a build of their proportional set size (Linux), read ten
times a second. Each build is in a new folder; packages, models and assets are there already.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = {"language model on": [], "language model off": ["--set", "llm.backend=sampler"]}


def memory_mb(root: int) -> float:
    """Memory of a process and all its descendants, in megabytes."""
    parents, total_kb = {}, {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ProcessLookupError, IndexError):
            if folder.name.isdigit():
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(after_name[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        with contextlib.suppress(OSError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total_kb[pid] = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return sum(total_kb.values()) / 1024


def measure(arguments: list[str], nproc: int) -> tuple[float, float, str]:
    """Seconds, peak memory in megabytes, and the summary of one build."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "acp", "build", "demo", "--nproc", str(nproc)]
        command += ["--out", f"{folder}/demo", *arguments]
        started, peak_mb = time.perf_counter(), 0.0
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while process.poll() is None:
            peak_mb = max(peak_mb, memory_mb(process.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        output = process.stdout.read() if process.stdout else ""
        if process.returncode:
            sys.exit(f"the build failed with exit code {process.returncode}")
        return seconds, peak_mb, output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nproc", type=int, default=os.cpu_count() or 1)
    nproc = parser.parse_args().nproc
    results = {name: measure(arguments, nproc) for name, arguments in CASES.items()}
    for name, (_, _, output) in results.items():
        print(f"--- {name}\n{output}")
    print(f"| recipe demo, {nproc} processes | wall time | peak memory |\n| --- | ---: | ---: |")
    for name, (seconds, peak_mb, _) in results.items():
        print(f"| {name} | {seconds:.0f} s | {peak_mb:.0f} MB |")


if __name__ == "__main__":
    main()
