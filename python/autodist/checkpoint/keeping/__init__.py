"""Which checkpoints live: retention, the best ones, pins and leases (docs/design/retention.md).

    retention          removes old checkpoints
    best_checkpoints   which of them are the best
    metrics_file       the metrics beside a checkpoint
    pins               checkpoints that are never removed
    leases             checkpoints that are being read; lease_lock is its lock on one machine
    side_files         small files beside a checkpoint
    latest             finds the newest sound checkpoint

`autodist.checkpoint` has what users call.
"""
