//! Hand-written locks, one structure a file.
