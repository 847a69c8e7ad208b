"""The processes that work for a corpus, by dask.distributed: on this machine, on a scheduler's, or in jobs of SLURM."""
