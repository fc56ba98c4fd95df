//! Memory by hand: an arena, a pool with a free list, a small `malloc`. A structure a file.
pub mod bump;
pub mod inbox;
pub mod slots;
pub mod small;
