"""What is stored of a trajectory, and how transitions are sampled from it."""
