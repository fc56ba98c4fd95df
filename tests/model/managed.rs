//! Of the managed heap only the safepoint is a structure of ours: the rest is MMTk's.
#[path = "../../src/structures/safepoint.rs"]
pub mod safepoint;
