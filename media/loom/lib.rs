//! Nothing of its own: `tests/` has what loom tries.
