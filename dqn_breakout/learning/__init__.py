"""How experience becomes a policy: turns of playing and learning, one module a kind."""
