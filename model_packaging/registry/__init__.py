"""Where packages are kept: the folder that builds land in, and registries that share packages between machines."""
