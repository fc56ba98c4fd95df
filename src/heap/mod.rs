//! A small managed heap on [MMTk](https://www.mmtk.io), the collector framework behind bindings of OpenJDK, Ruby and Julia: real
//! collectors to measure, not one that was made up for the purpose.
//!
//! | file | what is there |
//! |---|---|
//! | `start` | which collector, which size; why there may be no heap; the pauses so far |
//! | `mutator` | a thread that uses the heap: allocate, read, write, poll, block |
//! | `roots` | how the program refers to objects that may move |
//! | `object` | what an object looks like |
//! | [`crate::structures::safepoint`] | how all mutators are stopped and started: a structure of its own, checked under loom |
//! | `binding` | what MMTk is told about all of these |
//! | `pauses`, `workers` | the log of pauses, the watchdog, what the collector threads cost |
//! | `room` | whether a heap can be made here at all |
//! | [`load`] | work for it: what lives, what dies, who waits |
//!
//! One heap per process, for the whole life of the process: that is MMTk's limit. Whoever compares collectors starts a
//! child for each ([`crate::lab::Launch::Isolated`]).
//!
//! Left out, because no lab asks for it: objects shared between mutators, weak references, finalizers.
mod binding;
pub mod load;
mod mutator;
mod object;
mod pauses;
mod room;
mod roots;
mod start;
mod workers;

pub use self::{
    mutator::{Mutator, OutOfMemory},
    pauses::{Kind, Overdue, Pause, Phase},
    room::{explain, needed_bytes, possible},
    roots::{Ref, Root},
    start::{Collector, Config, Heap, HeapError, LargeBudget},
    workers::Use,
};
