"""Creates the shards and replicas of variables."""
