"""Runs a contest: in one process for time, in another for memory (see `measuring.contestants`).

TensorFlow is imported in those processes only.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from contenders.cases import Contest, Setting
from contenders.contender import Key
from contests.results import Result
from measuring import contestants, machine
from measuring.contestants import Measurement

_Measured = tuple[dict[Key, Measurement], float]


def run(contest: Contest, setting: Setting) -> Result:
    """Lets everybody of a contest take turns, checks each answer, and measures.

    Raises:
        AssertionError: An answer was wrong.
    """
    before = machine.ProcessorUse.now()
    memory, memory_seconds = {}, 0.0
    if setting.memory_rounds:
        memory, memory_seconds = contestants.in_new_process(
            _measure, contest, setting, setting.memory_rounds, is_memory_returned=True
        )
    times, seconds = contestants.in_new_process(
        _measure,
        contest,
        setting,
        setting.rounds,
        is_memory_returned=contest.has_new_memory,
    )
    others = machine.ProcessorUse.now().others_share_since(before, memory_seconds + seconds)
    return Result(contest, times, memory, others)


def _measure(contest: Contest, setting: Setting, rounds: int) -> _Measured:
    """Also returns the processor time it took."""
    import tensorflow as tf

    from contenders import models, restores, saves, stock_tensorflow
    from measuring.checks import check_values

    kinds = {"save": saves.Saves, "restore": restores.Restores}
    tf.compat.v1.disable_eager_execution()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    logging.getLogger("autodist").setLevel(logging.ERROR)
    values = contest.model.make_values()
    with tempfile.TemporaryDirectory(
        prefix="save_restore_", dir=setting.directory(contest.place)
    ) as name:
        directory = Path(name)
        reference = directory / "reference"
        reference.mkdir()
        held = models.hold(contest.model, values)
        stock_tensorflow.saver_save(held)(reference)
        held.session.close()
        check_values(reference, contest.model.views(values))
        made = list(kinds[contest.operation](contest, setting, values, reference).make())
        measured = contestants.measure([entry.contestant for entry in made], rounds, directory)
    by_key = {entry.key: measured[entry.contestant.name] for entry in made}
    return by_key, machine.ProcessorUse.now().own_seconds
