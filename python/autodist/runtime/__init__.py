"""The machines and the session: resource specs, and the distributed session that runs the transformed graph."""
