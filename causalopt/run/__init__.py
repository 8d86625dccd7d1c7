"""A run from a configuration to a directory."""
