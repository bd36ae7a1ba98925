"""Servers that the chief starts over ssh, by a real ssh server with keys of its own."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ports import free_ports
from support.processes import is_running, wait_for_end
from support.python_programs import Process, read_line, start_python

asyncssh = pytest.importorskip("asyncssh")

PYTHON_PATHS = os.pathsep.join(filter(None, sys.path))


class SshMachine:
    """A machine that lets one key in; its known hosts and keys are files of a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("host", "user", "stranger"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(directory / name)
            key.write_public_key(directory / f"{name}.pub")
            (directory / name).chmod(0o600)
        server = ("-m", "support.clusters.ssh_server", directory / "host", directory / "user.pub")
        self._process = start_python(*server)
        self.port = int(self.read())
        self.write_known_hosts("host")

    def write_known_hosts(self, name: str) -> None:
        key = (self.directory / f"{name}.pub").read_text()
        (self.directory / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")

    def read(self) -> str:
        return read_line(self._process)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def spec(self, key: str = "user", venv: str = "", **envs: str) -> Path:
        here, other = free_ports(2)
        settings = "".join(f"      {name}: '{value}'\n" for name, value in envs.items())
        path = self.directory / "spec.yml"
        path.write_text(
            f"nodes:\n  - {{address: '127.0.0.1:{here}', chief: true}}\n"
            f"  - {{address: '127.0.0.1:{other}', ssh_config: lab}}\n"
            f"ssh:\n  lab:\n    username: somebody\n    port: {self.port}\n"
            f"    key_file: {self.directory / key}\n"
            f"    known_hosts: {self.directory / 'known_hosts'}\n"
            f'    python_venv: "{venv or self.venv}"\n'
            f"    shared_envs:\n      TF_CPP_MIN_LOG_LEVEL: '3'\n{settings}"
        )
        return path

    @property
    def venv(self) -> str:
        """Makes `python` this Python, with its packages; its process is noted."""
        return (
            f"echo $$ > {self.directory / 'pid'}; export PYTHONPATH={PYTHON_PATHS}; "
            f"export PATH={Path(sys.executable).parent}:$PATH; cd {self.directory}"
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SshMachine]:
    made = SshMachine(tmp_path)
    yield made
    made.close()


def start_chief(spec: Path) -> Process:
    program = ("-m", "support.clusters.chief", "joins", spec, spec.parent)
    return start_python(*program, AUTODIST_START_TIMEOUT="60")


def first_line(chief: Process) -> str:
    try:
        return read_line(chief)
    finally:
        chief.kill()
        chief.communicate()


def test_a_server_is_started_over_ssh_and_ends_with_the_chief(machine: SshMachine) -> None:
    chief = start_chief(machine.spec(SAID_BY_SPEC="two words"))
    assert read_line(chief) == "trained"
    assert machine.read() == "user somebody"
    server = int((machine.directory / "pid").read_text())
    assert b"SAID_BY_SPEC=two words" in Path(f"/proc/{server}/environ").read_bytes().split(b"\0")
    assert is_running(server)
    os.kill(chief.pid, signal.SIGKILL)
    chief.communicate()
    assert wait_for_end([server]) == []


def test_an_unknown_host_key_is_refused(machine: SshMachine) -> None:
    (machine.directory / "known_hosts").write_text("")
    assert "not found in known_hosts" in first_line(start_chief(machine.spec()))


def test_a_changed_host_key_is_refused(machine: SshMachine) -> None:
    machine.write_known_hosts("stranger")
    assert "does not match" in first_line(start_chief(machine.spec()))


def test_a_wrong_key_is_refused(machine: SshMachine) -> None:
    message = first_line(start_chief(machine.spec("stranger")))
    assert f"ssh to 127.0.0.1:{machine.port}: Authentication failed" in message


def test_what_a_failing_server_wrote_is_told(machine: SshMachine) -> None:
    message = first_line(start_chief(machine.spec(venv="echo no such venv; false")))
    assert "ended with exit code 1" in message
    assert "no such venv" in message
