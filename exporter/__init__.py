"""Wattribute: a per-node agent that attributes energy and emissions to what runs on the node.

The flow is one loop in one direction: ``sensors`` and ``workloads`` are read, ``attribution`` splits
the joules, ``ledger`` keeps the running totals, ``exposition`` shows them. ``cli`` builds the graph.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
