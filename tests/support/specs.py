"""Resource specs."""

from pathlib import Path


def write_local_spec(directory: Path, replicas: int = 2) -> str:
    """Writes the spec of so many replicas on this machine; returns its path."""
    path = directory / f"{replicas}_replicas.yml"
    path.write_text(f"nodes:\n  - address: localhost\n    cpus: {list(range(replicas))}\n")
    return str(path)


def cluster_text(ports: list[int], cpus: int = 2) -> str:
    """Returns the spec of one node a port on the loopback interface; the first is the chief."""
    nodes = [
        f"  - {{address: '127.0.0.1:{port}', cpus: {list(range(cpus))}, chief: {str(i == 0).lower()}}}"
        for i, port in enumerate(ports)
    ]
    return "\n".join(["nodes:", *nodes, ""])
