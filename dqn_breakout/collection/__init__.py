"""Playing to fill the replay buffer: drivers, their policies and observers."""
