"""The run folder: HDF5 schema, writing, reading."""
