"""A session that TensorFlow's `Saver` gets in place of the user's, with the same graph."""

from __future__ import annotations

from typing import Any

from autodist.private_apis.tf_sessions import SessionInterface


class SessionProxy(SessionInterface):
    """A session in place of another: its `run`, which a subclass defines, saves or restores."""

    def __init__(self, session: Any) -> None:
        """Wraps a session.

        Args:
            session: The session of the user.
        """
        self._session = session

    @property
    def graph(self) -> Any:
        """The graph of the user's session."""
        return self._session.graph

    @property
    def sess_str(self) -> Any:
        """The target of the user's session."""
        return self._session.sess_str
