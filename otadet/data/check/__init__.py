"""What annotations and their image files are like, and what is wrong with them: pure functions that print nothing.

`statistics.py`, `crowding.py` and `advice.py` have the numbers and what follows from them for an experiment.
"""
