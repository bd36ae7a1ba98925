"""A real ssh server on loopback that runs commands: `python -m support.clusters.ssh_server HOST_KEY AUTHORIZED_KEYS`.

It prints its port, and for each login the name of the user.
"""

import asyncio
import sys
from typing import Any

import asyncssh


class Users(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        print(f"user {username}", flush=True)
        return True


async def run(process: Any) -> None:
    child = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert child.stdout is not None
    await process.redirect(stdin=child.stdin)
    # What it wrote goes out before its exit code: the channel closes with that.
    while data := await child.stdout.read(65536):
        process.stdout.write(data)
    process.exit(await child.wait())


async def serve() -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Users,
        server_host_keys=[sys.argv[1]],
        authorized_client_keys=sys.argv[2],
        process_factory=run,
        encoding=None,
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


asyncio.run(serve())
