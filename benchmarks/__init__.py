"""How fast this project trains and how much memory it takes, measured beside its peers.

Nothing in `dqn_breakout` imports this package. What runs in the peers' own environment
(`contestant`, `peers/sb3`) imports nothing of `dqn_breakout` either; what knows how this project is
built is `this_project`.
"""
