"""The session that TensorFlow's `Saver` gets in place of the user's."""

from __future__ import annotations

from typing import Any

from autodist.private_apis.tf_sessions import SessionInterface


class SessionProxy(SessionInterface):
    """A session with the graph of another.

    A subclass's `run` does what the saver's node would do.
    """

    def __init__(self, session: Any) -> None:
        """Wraps a session.

        Args:
            session: The session.
        """
        self._session = session

    @property
    def graph(self) -> Any:
        """As of the session."""
        return self._session.graph

    @property
    def sess_str(self) -> Any:
        """As of the session."""
        return self._session.sess_str
