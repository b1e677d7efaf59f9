"""Measurements behind docs/performance.md: each module is a command, ``python -m benchmarks.NAME``.

Run from a checkout, with ``pip install -e ".[test]"`` for cleanlab. ``--small`` runs through
everything in seconds; its figures say nothing.
"""
