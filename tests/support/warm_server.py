"""A process that has imported TensorFlow, and forks itself into Python programs; `support.warm_python` starts it.

The import costs two seconds of processor, a fork twenty milliseconds. The process has one thread and starts no session,
so a fork of it is as good as a new process. It imports neither the package nor `support`.

A request is a JSON object, with descriptors of the program's standard input, output and error. The answer is the pid of
the program. Its parent is not this process but the one that asks, which takes in orphans meanwhile.
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

_before = dict(os.environ)
import tensorflow as tf  # noqa: E402, F401 - for the programs

SET_BY_IMPORT = dict(os.environ.items() - _before.items())
# More than arguments and an environment take.
REQUEST_BYTES = 1 << 20


def fork_orphan() -> int:
    """Forks a process and has it lose its parent; returns its pid, and 0 in it once it has another parent."""
    read, write = os.pipe()
    middle = os.fork()
    if middle == 0:
        parent = os.getpid()
        pid = os.fork()
        if pid != 0:
            os.write(write, str(pid).encode())
            os._exit(0)
        while os.getppid() == parent:
            time.sleep(0.0005)
    else:
        os.waitpid(middle, 0)
        pid = int(os.read(read, 32))
    os.close(read)
    os.close(write)
    return pid


def serve(connection: socket.socket) -> dict[str, Any]:
    """Answers requests until the connection ends, and ends itself; returns the request in a program's process."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 3)
        if not message:
            os._exit(0)
        pid = fork_orphan()
        if pid == 0:
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid == 0:
            connection.close()
            return json.loads(message)
        connection.send(str(pid).encode())


def become(request: dict[str, Any], after: list[str]) -> None:
    """Makes this process what a new one would be: environment, directory, paths, random numbers.

    Args:
      request: What is to run, and how.
      after: What follows the directories of PYTHONPATH in `sys.path`.
    """
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update({**SET_BY_IMPORT, **request["environment"]})
    sys.orig_argv = [sys.executable, *request["arguments"]]
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = dict.fromkeys([*map(os.path.abspath, paths), *after])
    importlib.invalidate_caches()
    np.random.seed()  # noqa: NPY002 - the programs may use it


def serve_below() -> dict[str, Any] | None:
    """Forks a process that serves this one; returns a request in the processes which that one forks."""
    connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        connection.close()
        return serve(other)
    other.close()
    # The pid tells those who inherit the variable that the descriptor is not theirs.
    os.environ["SUPPORT_WARM_SERVER"] = f"{os.getpid()}:{connection.detach()}"
    return None


def run(program: str, *arguments: str) -> None:
    """Runs a program as Python does: `-c CODE`, `-m MODULE` or a file, with its arguments."""
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = main
    if program == "-m":
        module, *sys.argv[1:] = arguments
        sys.argv[0] = "-m"
        sys.path.insert(0, str(Path.cwd()))
        runpy._run_module_as_main(module)
        return
    if program == "-c":
        source, *sys.argv[1:] = arguments
        sys.argv[0] = "-c"
        sys.path.insert(0, "")
        code = compile(source, "<string>", "exec", dont_inherit=True)
    else:
        path = Path(program)
        sys.argv[:] = [program, *arguments]
        sys.path.insert(0, str(path.resolve().parent))
        main.__file__ = str(path.absolute())
        code = compile(path.read_bytes(), main.__file__, "exec", dont_inherit=True)
    exec(code, main.__dict__)


if __name__ == "__main__":
    # Imported modules are no garbage when a program ends: to look through them takes half a second.
    gc.freeze()
    # The first is the directory of this file; there is no PYTHONPATH.
    own_paths = sys.path[1:]
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    become(request, own_paths)
    while request["starts_programs"] and (below := serve_below()) is not None:
        request = below
        become(request, own_paths)
    run(*request["arguments"])
