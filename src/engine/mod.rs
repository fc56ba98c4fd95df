//! The ways to measure.
