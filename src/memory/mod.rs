//! Blocks of memory: who pays for one (call, first touch, free), and who else waits meanwhile.
//!
//! | file | what is there |
//! |---|---|
//! | [`cycle`] | one round of allocate, touch, free, timed apart; many of them |
//! | [`cliff`] | the size from which pages fault anew, and how history moves it |
//! | [`zeroed`] | memory that must be zero: who clears it |
//! | [`grown`] | a block that grows: who copies |
//! | [`pages`] | small, huge and populated pages; cold and warm memory |
//! | [`bystander`] | a victim on one CPU, an antagonist on another, and a control between them |
//! | [`shootdown`] | what it costs to take pages away from a process that runs on other CPUs too |
//! | [`victim`] | what a victim does |
//! | [`handed`] | blocks that one thread gets and another one frees |
//! | [`ended`] | threads that end while their blocks live on |
//! | [`returned`] | what is given back to the kernel after the frees, and who waits for that |
//! | [`mem`] | page faults, resident memory, room that is left, mappings |
//! | [`heap`] | bytes that the allocator has given out |
//! | [`latency`] | histograms of durations |
pub mod bystander;
pub mod cliff;
pub mod cycle;
pub mod ended;
pub mod grown;
pub mod handed;
pub mod heap;
pub mod latency;
pub mod mem;
pub mod pages;
pub mod returned;
pub mod shootdown;
pub mod victim;
pub mod zeroed;
