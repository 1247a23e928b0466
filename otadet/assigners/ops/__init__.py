"""What the rules share: candidates, lists of pairs, costs, ties, and the Sinkhorn solver."""
