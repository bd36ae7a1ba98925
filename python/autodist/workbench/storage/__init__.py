"""Files: local ones by system calls, those of `gs://` and the like by fsspec."""
