"""`python -m otadet`: the command `otadet`, where it is not on the path."""

from otadet.cli import command

if __name__ == "__main__":
    command()
