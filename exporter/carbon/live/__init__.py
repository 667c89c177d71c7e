"""Live intensity: asking providers on a schedule, in threads of their own, and keeping what they said.

Owns schedule, checks, memory and the cache on disk; knows no provider's format. Nothing here can delay a tick: what
the loop reads is in memory.
"""

from exporter.carbon.live.cache import CacheEntry, LoadedCache, load, save
from exporter.carbon.live.fetcher import Fetcher
from exporter.carbon.live.poller import Poller
from exporter.carbon.live.series_json import decode_series, encode_series
from exporter.carbon.live.windows import best_window, held, mean_g_per_kwh, point_at

__all__ = [
    "CacheEntry",
    "Fetcher",
    "LoadedCache",
    "Poller",
    "best_window",
    "decode_series",
    "encode_series",
    "held",
    "load",
    "mean_g_per_kwh",
    "point_at",
    "save",
]
