//! What crosses rooms. See `tests/`.
