"""One call of `session.run`: its fetches, its feeds, and what is cached for the next call."""
