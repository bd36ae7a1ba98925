"""The names of tasks and of their devices, and the target of a session."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import tensorflow as tf


class UnreachableStateError(Exception):
    """No session of our own sees the variables of the user's session; the text says why."""


@dataclasses.dataclass(frozen=True)
class SessionTarget:
    """Address and config with which a session of our own is opened.

    Attributes:
        address: The target of the user's session.
        config: The `ConfigProto` of the user's session; `None` if it is of an unknown class.
    """

    address: str
    config: Any

    def __str__(self) -> str:
        return self.address

    @property
    def why_unreachable(self) -> str:
        """Why no session of ours may be opened; empty if one may."""
        if self.config is None:
            return "the config of the session is not known"
        if self.config.cluster_def.job:
            return "the session's config has a cluster_def, which gives it variables of its own"
        return ""

    def config_for(self, filters: Iterable[str]) -> Any:
        """Returns the user's config for a session that sees some tasks only.

        Args:
            filters: Device filters, in place of the user's.
        """
        config = tf.compat.v1.ConfigProto()
        config.CopyFrom(self.config)
        config.device_filters[:] = filters
        # Our ops name whole devices. One that is not there must be an error, not another device.
        config.allow_soft_placement = False
        config.log_device_placement = False
        return config


def task_of(device: str, default: str) -> str:
    """Returns the task of a device, as in `/job:ps/replica:0/task:1`.

    Args:
        device: A device, in full or in part.
        default: The task of the session's master, where a device without a job is.
    """
    spec = tf.DeviceSpec.from_string(device or "")
    if spec.job is None:
        return default
    return f"/job:{spec.job}/replica:{spec.replica or 0}/task:{spec.task or 0}"


def are_of_one(devices: Iterable[str]) -> bool:
    """Tells whether whole devices are all of one task."""
    return len({task_of(device, "") for device in devices}) == 1


def processor_of(task: str) -> str:
    """Returns the device of a task that our ops run on."""
    return f"{task}/device:CPU:0"


def filters_of(tasks: Iterable[str]) -> list[str]:
    """Returns the device filters that let a session see these tasks and no others."""
    specs = [tf.DeviceSpec.from_string(task) for task in tasks]
    return sorted({f"/job:{spec.job}/task:{spec.task}" for spec in specs})
