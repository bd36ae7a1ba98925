"""Writes `TF_CONFIG` for this Pod of an indexed Job, then runs a program in its place.

    python entry_point.py PROGRAM [ARGUMENT ...]

Two environment variables say which task this is:

    TASKS                  one line per task: its job and its address
    JOB_COMPLETION_INDEX   the line of this Pod, from 0; Kubernetes sets it

The evaluator is no member of the cluster: `TF_CONFIG` leaves its address out.
"""

import json
import os
import sys


def make_tf_config(tasks, number):
    """Returns the `TF_CONFIG` of line `number` of `tasks`, as a dict."""
    lines = [line.split() for line in tasks.splitlines() if line.strip()]
    if not 0 <= number < len(lines):
        sys.exit(f"JOB_COMPLETION_INDEX is {number}, but TASKS has {len(lines)} lines")
    cluster, indices = {}, []
    for job, address in lines:
        members = cluster.setdefault(job, [])
        indices.append(len(members))
        members.append(address)
    cluster.pop("evaluator", None)
    return {"cluster": cluster, "task": {"type": lines[number][0], "index": indices[number]}}


def main():
    """Replaces this process by the program."""
    config = make_tf_config(os.environ["TASKS"], int(os.environ["JOB_COMPLETION_INDEX"]))
    environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
