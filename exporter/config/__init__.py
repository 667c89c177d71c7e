"""The configuration: a YAML file and flags in, frozen records out, every mistake at once.

Owns the file's format; each section's record and its meaning belong to the place that uses it.
"""

from exporter.config.load import Flag, load_settings
from exporter.config.settings import LogSettings, SamplingSettings, Settings

__all__ = ["Flag", "LogSettings", "SamplingSettings", "Settings", "load_settings"]
