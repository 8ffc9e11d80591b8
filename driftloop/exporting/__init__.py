"""A version of the store as a folder that another server takes: KServe, Triton, BentoML. `driftloop export` writes it."""
