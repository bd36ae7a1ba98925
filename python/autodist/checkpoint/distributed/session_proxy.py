"""What TensorFlow's `Saver` is given in place of a session."""

from __future__ import annotations

from typing import Any

from autodist.private_apis.tf_internals import SessionInterface


class SessionProxy(SessionInterface):
    """A session whose one run, that of a saver's node, is done in our way."""

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
