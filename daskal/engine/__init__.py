"""All that concerns Dask alone: graphs, reductions, progress, workers."""
