"""``python -m exporter.config --markdown`` or ``--example``: what docs/ holds."""

import sys

from exporter.config.reference import example, markdown

if __name__ == "__main__":
    sys.stdout.write(example() if "--example" in sys.argv else markdown())
