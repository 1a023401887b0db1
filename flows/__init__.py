"""WHEN things happen: the only folder that knows Prefect.

Its settings must stand before Prefect and torch are imported.
"""

from flows.environment import settle_prefect, settle_threads

settle_prefect()
settle_threads()
