//! The std face of atomics, cells, threads and parking.
