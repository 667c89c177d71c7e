"""The gateway: one process per cluster that fetches carbon intensity with one key and serves it to every agent.

Owns which zones are fetched, what is served of them, and the file that outlives a restart. How a provider is asked
is in ``exporter.carbon``; of the agents that ask, nothing is kept.
"""
