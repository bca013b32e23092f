"""The learning rule and the policies: DqnAgent, RMSprop, exploration."""
