"""Who acts and is trained: the agent, its objective, its optimizer, its policies."""
