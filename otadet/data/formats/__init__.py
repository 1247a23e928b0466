"""Readers: from a file of annotations to arrays."""
