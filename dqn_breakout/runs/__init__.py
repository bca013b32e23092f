"""What a run keeps on disk: its directory, its record, its checkpoints."""
