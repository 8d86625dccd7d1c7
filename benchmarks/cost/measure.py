"""One system on one sample in a process of its own, so that its peak of memory is its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings

from benchmarks.cost.systems import SYSTEMS, Sample

Measured = dict[str, float]


def measure(system: str, n: int, seed: int) -> Measured:
    """Seconds (wall and processor) and MiB of peak memory above that of the sample alone.

    Imports, drawing the sample and a first small fit, which loads the libraries, are not counted.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.cost.measure", system, str(n), str(seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{system} with n = {n} failed: {done.stderr.strip().splitlines()[-1]}")
    found: Measured = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    system, n, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    SYSTEMS[system](Sample.draw(500, seed))
    sample = Sample.draw(n, seed)
    memory, wall, processor = _peak(), time.perf_counter(), time.process_time()
    SYSTEMS[system](sample)
    found = {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "peak_mib": _peak() - memory,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
