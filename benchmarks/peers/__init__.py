"""Other ways to train DQN, each driven as its own documentation drives it."""
