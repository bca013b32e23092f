"""Playing to be scored: protocols, full games, statistics, and games to look at."""
