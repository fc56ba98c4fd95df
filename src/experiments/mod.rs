//! Experiments: what a lab does with its contenders that is more than one of the general ways to measure. Most serve one lab.
//!
//! They stand here and not in `labs/`, because a lab is compiled several times (as a program, in the table of contents, in the
//! benches) and this is compiled once.
pub mod burst;
pub mod bystander;
pub mod cancel;
pub mod cliff;
pub mod cycle;
pub mod ended;
pub mod flood;
pub mod grown;
pub mod handed;
pub mod hang;
pub mod held;
pub mod injection;
#[cfg(feature = "gc")]
pub mod jvm;
pub mod looked_at;
pub mod observe;
pub mod pages;
pub mod policy;
pub mod presence;
pub mod returned;
pub mod service;
pub mod shootdown;
pub mod sizes;
pub mod starve;
pub mod stopped;
pub mod tenants;
pub mod traps;
pub mod twins;
pub mod victim;
pub mod wakes;
pub mod wakeup;
pub mod zeroed;
