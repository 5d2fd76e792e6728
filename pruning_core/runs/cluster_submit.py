"""Hands one run to submitit: ``python -m pruning_core.runs.cluster_submit FOLDER``, wish on stdin.

It is a process of its own, in a session of its own, because those that submitit starts on this
machine share the session, the terminal and the end of whoever started them.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pruning_core.runs import atomic, process
from pruning_core.runs.cluster import Job


def main(own: Path, wish: dict[str, Any]) -> None:
    """Submit the run in the folder ``own`` and note its job."""
    import submitit

    executor = submitit.AutoExecutor(folder=own / "submitit", cluster=wish["kind"])
    executor.update_parameters(**wish["parameters"])
    job = executor.submit(Job(str(own), wish["device"]))
    noted = {"kind": wish["kind"], "job_id": job.job_id}
    if wish["kind"] == "local":
        noted |= {"pid": int(job.job_id), "mark": process.start_mark(int(job.job_id))}
    atomic.write_bytes(own / "job.json", json.dumps(noted).encode())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), json.load(sys.stdin))
    except Exception as error:  # whatever submitit or the cluster says, in one line
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        sys.exit(1)
