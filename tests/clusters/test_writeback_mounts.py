"""Servers that each mount one directory for themselves and cache its pages: NFS, FUSE and the like."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autodist.checkpoint.distributed.shared_save import file_systems
from support.clusters import writeback_mounts
from support.python_programs import environment

PROGRAM = "support.clusters.mounted_program"
MISSING = writeback_mounts.reason_against()

EXT4, TMPFS, OVERLAY, NFS, FUSE, LUSTRE, UNKNOWN = (
    0xEF53,
    0x01021994,
    0x794C7630,
    0x6969,
    0x65735546,
    0x0BD00BD0,
    0x12345678,
)


def place(file_system: int, *, block: int = 4096, device: int = 1, kernel: bytes = b"a") -> Any:
    return file_systems.FilePlace(file_system, block, device, 7, kernel)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_every_save_that_returns_verifies(tmp_path: Path) -> None:
    command = ["unshare", "-m", sys.executable, "-m", PROGRAM, tmp_path, "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for way in ("default", "stream", "files", "sharded"):
        assert f"{way}: 2 saves verify and are restored" in lines
    (refused,) = [line for line in lines if line.startswith("refused: transport='shared', but ")]
    for part in ("/job:ps/replica:0/task:0", "on FUSE", "transport='files'", "Nothing was written"):
        assert part in refused
    # Where all write to one file all the same, what that damages is found before the commit.
    assert "forced, blocks of 1 bytes: 3 of 3 saves were found out, the others verify" in lines
    found = [line for line in lines if line.startswith("found: ")]
    assert all("The file system, FUSE, does not show" in line for line in found)
    # What is done instead is said, with the reason and the alternative.
    assert "on FUSE, where several tasks that write to one file lose each other's" in done.stderr
    assert "With Saver(transport='files') every task writes a data file of its own" in done.stderr


@pytest.mark.parametrize("file_system", [EXT4, TMPFS, OVERLAY])
def test_on_one_machine_all_write_who_see_the_same_file(file_system: int) -> None:
    chief = place(file_system)
    assert not file_systems.reason_against(place(file_system), chief)
    assert "another machine" in file_systems.reason_against(place(file_system, kernel=b"b"), chief)
    assert "another mount" in file_systems.reason_against(place(file_system, device=2), chief)
    unknown = place(file_system, kernel=b"")
    assert "another machine" in file_systems.reason_against(unknown, unknown)


@pytest.mark.parametrize("file_system", [NFS, FUSE, UNKNOWN, 0])
def test_where_clients_have_pages_of_their_own_one_writes(file_system: int) -> None:
    same = place(file_system)
    assert file_systems.name_of(file_system) in file_systems.reason_against(same, same)


def test_on_a_coherent_file_system_all_machines_write() -> None:
    other = place(LUSTRE, device=9, kernel=b"b")
    assert not file_systems.reason_against(other, place(LUSTRE))


def test_the_server_of_an_export_and_its_clients_do_not_both_write() -> None:
    reason = file_systems.reason_against(place(NFS), place(EXT4))
    assert reason == "on NFS, the chief on ext2/ext3/ext4"
    assert file_systems.reason_against(place(EXT4), place(NFS))


@pytest.mark.parametrize(
    ("blocks", "limit", "expected"),
    [
        ([4096, 4096], 1 << 24, 4096),
        ([512], 1 << 24, 4096),
        ([0], 1 << 24, 4096),
        ([4096, 1 << 22], 1 << 24, 1 << 22),
        ([5000], 1 << 24, 8192),
        # Neither more than is sent at a time nor than anybody has.
        ([1 << 22], 1 << 20, 1 << 20),
        ([1 << 30], 1 << 40, 16 << 20),
        ([1 << 22], 1, 4096),
    ],
)
def test_blocks_that_have_one_writer(blocks: list[int], limit: int, expected: int) -> None:
    places = [place(LUSTRE, block=block) for block in blocks]
    assert file_systems.shared_block_bytes(places, limit) == expected
