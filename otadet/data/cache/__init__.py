"""Decoded images kept for the next epoch: in memory, once for all processes of a machine, or in a folder."""
