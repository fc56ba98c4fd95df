//! Flags, the tour, the stepping terminal.
