# `make check` is what runs before every change lands; PYTHON says with which environment.
PYTHON ?= .venv/bin/python

.PHONY: check
check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q -n auto --dist loadfile
