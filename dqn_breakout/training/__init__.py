"""The training loop and all that it leaves behind: learner, loop, checkpoints, hooks."""
