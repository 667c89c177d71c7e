"""The command ``wattribute``: flags in, exit code out. Builds the graph; holds no logic of its own."""

from exporter.cli.main import main

__all__ = ["main"]
