"""Decides about one save, before the state file names it: figures, rules, proof.

::

    begin       what is known of the latest checkpoint, to compare with; before a save overwrites it
    judge       figures of what was written, the rules, and the proof
    evidence    what `judge` found, for the file beside the checkpoint

A checkpoint under a prefix of its own is judged once it is there: if it is refused, it stays there,
and the state file stays as it is. A save over a prefix in use is judged before it replaces what is
there: the state file may name that.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf

from autodist import _log, _native, errors
from autodist.checkpoint.evidence import evidence_file, records, stock_proof, summaries
from autodist.checkpoint.files import paths
from autodist.evidence.figures import Evidence, Violation
from autodist.evidence.rules import Refuse, matches

_LOGGER = _log.get_logger()

# So many violations are told.
_MOST_TOLD = 5

GraphFile = Callable[[], contextlib.AbstractContextManager[str]]


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a save is checked for.

    Attributes:
        patterns: Names or patterns of the variables that are checked; `None`: all.
        refuse: Which checkpoints are refused; `None`: none.
        proof: How it is proved that a checkpoint restores; `None`: it is not.
        summary_directory: Where figures go for TensorBoard; `None`: nowhere.
        has_figures: Whether figures are computed.
    """

    patterns: tuple[str, ...] | None
    refuse: Refuse | None
    proof: stock_proof.Proof | None
    summary_directory: str | None
    has_figures: bool

    @property
    def is_strict(self) -> bool:
        """Whether a checkpoint can be refused."""
        return self.refuse is not None or self.proof is not None

    @staticmethod
    def of(
        check: bool | Collection[str], refuse: Any, proof: Any, summary_directory: str | None
    ) -> Terms | None:
        """Returns the terms that options give; `None` if nothing is checked.

        Args:
            check: As in `SaveOptions`, like the others.
            refuse: Rules.
            proof: A proof.
            summary_directory: A directory.

        Raises:
            ArgumentError: A value cannot be used.
            ArgumentTypeError: A value is of the wrong type.
        """
        patterns = _patterns(check)
        if summary_directory is not None and not isinstance(summary_directory, str):
            raise errors.ArgumentTypeError(
                f"evidence_logdir must be a path, not {summary_directory!r}"
            )
        terms = Terms(
            patterns,
            None if refuse is None else Refuse.of(refuse),
            None if proof is None else stock_proof.Proof.of(proof),
            summary_directory,
            has_figures=bool(check) or refuse is not None or summary_directory is not None,
        )
        return terms if terms.has_figures or terms.proof is not None else None


def _patterns(check: bool | Collection[str]) -> tuple[str, ...] | None:
    if isinstance(check, bool):
        return None
    if isinstance(check, str) or not isinstance(check, Collection):
        raise errors.ArgumentTypeError(
            f"check must be True, False, or names or patterns of variables, not {check!r}"
        )
    if not all(isinstance(pattern, str) for pattern in check):
        raise errors.ArgumentTypeError(f"check: names must be texts, not {check!r}")
    return tuple(sorted(check)) or None


class Memory:
    """What a saver remembers of the last checkpoint that it checked, so as not to read it again."""

    def __init__(self) -> None:
        """Remembers nothing."""
        self._last: tuple[str, Evidence] | None = None

    def note(self, prefix: str, evidence: Evidence) -> None:
        """Remembers a checkpoint that is the latest one now.

        Args:
            prefix: Its prefix.
            evidence: What is known of it.
        """
        self._last = paths.absolute(prefix), evidence

    def of(self, prefix: str) -> Evidence | None:
        """Returns what is known of a checkpoint, from memory or from its file.

        Args:
            prefix: Its prefix.
        """
        if self._last is not None and self._last[0] == paths.absolute(prefix):
            known = self._last[1]
            # Somebody else may have saved there since.
            return known if evidence_file.is_current(known, prefix) else None
        return evidence_file.read(prefix)

    @property
    def last_prefix(self) -> str | None:
        """The checkpoint that is remembered."""
        return None if self._last is None else self._last[0]


class Trial:
    """The decision about one save."""

    def __init__(
        self,
        terms: Terms,
        prefix: str,
        step: int | None,
        memory: Memory,
        *,
        state_path: str | None,
        graph_file: GraphFile,
        lists_index: bool,
    ) -> None:
        """Has not decided.

        Args:
            terms: What is checked.
            prefix: The checkpoint's prefix.
            step: The step in it.
            memory: Of the saver.
            state_path: Path of the state file; `None` if it is not written.
            graph_file: Returns a context with the path of the graph's file.
            lists_index: Whether stock ops may write variables that nobody has figures of.
        """
        self.terms = terms
        self._prefix = prefix
        self._step = step
        self._memory = memory
        self._state_path = state_path
        self._graph_file = graph_file
        self._lists_index = lists_index
        self._former: tuple[str, Evidence] | None = None
        self._is_overwritten = False
        self._is_named = False
        self.evidence: Evidence | None = None

    @property
    def replaces(self) -> bool:
        """Whether the bundle has to be judged before it is under its prefix.

        So it is where a bundle is there, and where the state file names the prefix already, whatever
        became of what was there.
        """
        return (self._is_overwritten or self._is_named) and self.terms.is_strict

    def begin(self, *, is_overwritten: bool) -> None:
        """Reads what is known of the latest checkpoint.

        Args:
            is_overwritten: Whether there is a checkpoint under the prefix.
        """
        self._is_overwritten = is_overwritten
        former, named = self._recorded()
        self._is_named = paths.absolute(self._prefix) in map(paths.absolute, named)
        known = None if former is None else self._memory.of(former)
        if former is not None and known is not None and known.why_not_latest() is None:
            self._former = former, known

    def _recorded(self) -> tuple[str | None, list[str]]:
        """Returns the latest checkpoint, and all that the state file names."""
        if self._state_path is None:
            return self._memory.last_prefix, []
        directory, name = paths.parent(self._state_path), paths.name(self._state_path)
        state = tf.train.get_checkpoint_state(directory or ".", name)
        if state is None:
            return None, []
        latest = str(state.model_checkpoint_path)
        return latest, [latest, *map(str, state.all_model_checkpoint_paths)]

    def judge(self, told: bytes, readable: str | None) -> Evidence:
        """Decides, and returns what is known of the checkpoint.

        Args:
            told: What the ops told of what they wrote; empty if they have told nothing.
            readable: A prefix under which the bundle can be read; `None`: it cannot yet.
        """
        evidence = self._examine(told, readable)
        violations: list[Violation] = []
        for pattern in self._patterns_without_variable(evidence):
            text = f"check: no variable has the name or fits the pattern {pattern!r}"
            if self.terms.refuse is None:
                _LOGGER.warning("%s: %s", self._prefix, text)
            else:
                violations.append(Violation("", "unchecked", text))
        if self.terms.refuse is not None:
            violations += _unchecked(evidence, self.terms.refuse)
            violations += self.terms.refuse.violations(evidence)
        if self.terms.proof is not None and readable is not None and not violations:
            with self._graph_file() as graph_path:
                why = stock_proof.why_not(self.terms.proof, graph_path, readable)
            if why is None:
                evidence = dataclasses.replace(evidence, proof=self.terms.proof.kind)
            else:
                text = f"a process with TensorFlow alone cannot restore it: {why}"
                violations.append(Violation("", "proof", text))
        self.evidence = dataclasses.replace(evidence, violations=tuple(violations))
        if self.terms.summary_directory is not None:
            summaries.write(self.terms.summary_directory, self.evidence, self._step)
        return self.evidence

    def judge_before_commit(self, told: bytes, readable: str | None) -> None:
        """Decides about a bundle that replaces the one under its prefix.

        Args:
            told: As in `judge`.
            readable: As in `judge`.

        Raises:
            RefusedCheckpointError: It is refused: the former bundle has to stay.
        """
        if not self.replaces:
            return
        if self.judge(told, readable).is_refused:
            raise self.error(is_kept=False)

    def note_committed(self) -> None:
        """Remembers the checkpoint, which is the latest one now."""
        if self.evidence is not None:
            self._memory.note(self._prefix, self.evidence)

    def error(self, *, is_kept: bool) -> errors.RefusedCheckpointError:
        """Returns the error that says why the checkpoint is refused.

        Args:
            is_kept: Whether it is there, under its prefix.
        """
        assert self.evidence is not None
        violations = self.evidence.violations
        told = "; ".join(map(str, violations[:_MOST_TOLD]))
        more = f"; and {len(violations) - _MOST_TOLD} more" * (len(violations) > _MOST_TOLD)
        outcome = (
            f"It is kept there, with {self._prefix}{evidence_file.SUFFIX}, but the state file does "
            "not name it. Train on from the latest checkpoint"
            if is_kept
            else "The checkpoint that was there before is still there, and nothing of this one"
            if self._is_overwritten
            else "Nothing of it is kept, since the state file names this prefix already"
        )
        return errors.RefusedCheckpointError(
            f"checkpoint {self._prefix} is refused: {told}{more}. {outcome}"
        )

    def _patterns_without_variable(self, evidence: Evidence) -> list[str]:
        names = [*evidence.variables, *evidence.not_checked]
        return [
            pattern
            for pattern in self.terms.patterns or ()
            if not any(matches(name, [pattern]) for name in names)
        ]

    def _examine(self, told: bytes, readable: str | None) -> Evidence:
        if not self.terms.has_figures:
            return Evidence({}, step=self._step)
        variables, not_checked = records.variables(told)
        if (self._lists_index or not told) and readable is not None:
            for name in _stored_names(readable):
                if name not in variables and name not in not_checked:
                    not_checked[name] = "TensorFlow's own ops wrote it"
        if self.terms.patterns is not None:
            patterns = self.terms.patterns
            left_out = {name for name in variables if not matches(name, patterns)}
            not_checked.update(dict.fromkeys(sorted(left_out), "not asked for"))
            variables = {
                name: figures for name, figures in variables.items() if name not in left_out
            }
        evidence = Evidence(variables, not_checked, step=self._step)
        if self._former is not None:
            prefix, former = self._former
            evidence = evidence.compared_with(former, paths.name(prefix))
        return evidence


def _unchecked(evidence: Evidence, refuse: Refuse) -> list[Violation]:
    """Returns a violation for each variable of which rules cannot be known to hold."""
    return [
        Violation(name, "unchecked", f"it has no figures: {why}")
        for name, why in evidence.not_checked.items()
        if why == "TensorFlow's own ops wrote it" and not matches(name, refuse.patterns)
    ]


def _stored_names(prefix: str) -> list[str]:
    return list(dict.fromkeys(entry.name for entry in _native.bundle().list_entries(prefix)))
