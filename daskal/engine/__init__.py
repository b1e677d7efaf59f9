"""Dask and nothing else: graphs, reductions, progress, workers."""
