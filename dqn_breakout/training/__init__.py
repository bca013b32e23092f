"""The course of a run: progress, checkpoints, evaluations, stops."""
