"""Rules of label assignment against each other: what `benchmarks/rules.py` is made of."""
