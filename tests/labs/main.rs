//! The labs: the rules of the house, a smoke run of each, every claim on made-up records, and what single labs promise.
#[path = "../../labs/all.rs"]
mod all;
#[path = "../common/mod.rs"]
mod common;

mod alloc;
mod alloc_fresh;
mod alloc_labs;
mod async_labs;
mod claims;
mod house;
mod models;
mod smoke;
mod watch;
