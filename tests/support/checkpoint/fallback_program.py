"""Saves instants while the better methods to keep them are taken away one after the other.

`python -m support.checkpoint.fallback_program LIBRARY DIRECTORY KIND`

LIBRARY is `denied_calls.c`, compiled. Prints what each save did as JSON, by name.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from support.checkpoint import scarce_program
from support.checkpoint.instant_job import METHODS, Job
from support.torture import victim_faults

NOBODY = 65534
_SET_DUMPABLE = 4

Told = dict[str, dict[str, Any]]


class Denied:
    """What this process may not call any more."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)

    def deny(self, call: str, error: int) -> None:
        """Lets a call fail from now on."""
        failure = self._library.deny(call.encode(), error)
        if failure:
            raise OSError(failure, f"cannot deny {call}")


def seccomp(job: Job, denied: Denied, told: Told) -> None:
    """A container that allows less and less."""
    with job.training():
        told["all allowed"] = job.save()
        told["a file for pages"] = job.save("pages", 1 << 16)
        denied.deny("spill", errno.EOPNOTSUPP)
        # One that is read before anything is overwritten needs no place for a copy.
        for _ in range(50):
            told["no file for pages"] = job.save("pages", 0)
            if "error" in told["no file for pages"]:
                break
        denied.deny("userfaultfd", errno.EPERM)
        denied.deny("USERFAULTFD_IOC_NEW", errno.EPERM)
        told["no pages"] = job.save()
        told["pages asked for"] = job.save("pages")
        denied.deny("process_vm_readv", errno.EPERM)
        told["no fork"] = job.save()
        told["fork asked for"] = job.save("fork")
        told["no memory either"] = job.save(memory_bytes=1 << 20)
        told["copy asked for"] = job.save("copy")


def old_kernel(job: Job, denied: Denied, told: Told) -> None:
    """A kernel that lacks a feature, or fails at it."""
    with job.training():
        denied.deny("UFFDIO_WRITEPROTECT", errno.ENOMEM)
        told["no protection"] = job.save()
        denied.deny("UFFDIO_REGISTER", errno.EINVAL)
        told["no registration"] = job.save()
        denied.deny("UFFDIO_API", errno.EINVAL)
        told["no protocol"] = job.save()
        denied.deny("userfaultfd", errno.ENOSYS)
        denied.deny("USERFAULTFD_IOC_NEW", errno.ENOTTY)
        told["no pages"] = job.save()
        denied.deny("fork", errno.ENOSYS)
        told["no fork"] = job.save()
        denied.deny("pipe2", errno.EMFILE)
        told["no pipe"] = job.save()


def nobody(job: Job, denied: Denied, told: Told) -> None:
    """An ordinary user."""
    del denied
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    library = ctypes.CDLL(None)
    # A process that has changed its user is out of its own reach, unlike one that begins as a user.
    with job.training():
        told["out of reach"] = job.save()
        library.prctl(_SET_DUMPABLE, 1, 0, 0, 0)
        told["auto"] = job.save()
        told["pages asked for"] = job.save("pages")
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        told["no process"] = job.save()
        told["pages without threads"] = job.save("pages")


def limits(job: Job, denied: Denied, told: Told) -> None:
    """Limits of a process."""
    del denied
    with job.training():
        told["little memory"] = job.save(limit=scarce_program.memory(6 << 20))
        told["pages in little memory"] = job.save("pages", limit=scarce_program.memory(6 << 20))
        for more in range(1, 24):
            told[f"{more} files"] = job.save(limit=victim_faults.few_files(Path(), more))
            if "log" in told[f"{more} files"]:
                break
        told["many files"] = job.save(limit=victim_faults.few_files(Path(), 40))


def group(job: Job, denied: Denied, told: Told) -> None:
    """A memory cgroup that has less than the pool for pages would take."""
    del denied
    with job.training():
        print("ready", flush=True)
        sys.stdin.readline()
        told["pages"] = job.save("pages")
        told["auto"] = job.save()


def append_only(job: Job, denied: Denied, told: Told) -> None:
    """A file system that takes bytes in order only, which `file_systems.c` makes of the directory."""
    del denied
    os.environ["FS_APPEND"] = str(errno.EOPNOTSUPP)
    with job.training():
        for method in METHODS:
            told[method] = job.save(method)


def main() -> None:
    library, directory, kind = sys.argv[1:]
    kinds: dict[str, Callable[[Job, Denied, Told], None]] = {
        work.__name__: work for work in (seccomp, old_kernel, nobody, limits, group, append_only)
    }
    told: Told = {}
    with tf.Graph().as_default():
        kinds[kind](Job(directory), Denied(library), told)
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
