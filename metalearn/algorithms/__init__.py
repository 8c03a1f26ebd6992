"""Meta-learning algorithms, one per file. Each computes the gradient that the outer optimizer follows."""
