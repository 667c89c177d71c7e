"""What the world sees of a snapshot: metrics, a page, JSON, and the bounded server that hands them out."""

from exporter.exposition.app import WebApp
from exporter.exposition.board import SnapshotBoard
from exporter.exposition.http_server import Server
from exporter.exposition.web_settings import WebSettings

__all__ = ["Server", "SnapshotBoard", "WebApp", "WebSettings"]
