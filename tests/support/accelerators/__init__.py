"""A device for tests whose memory the host cannot touch."""
