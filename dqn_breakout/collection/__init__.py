"""Playing to learn: the drivers, and what is counted of what they play."""
