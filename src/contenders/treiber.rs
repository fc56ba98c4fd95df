//! Treiber's stack over the crate crossbeam-epoch, as its documentation builds one: the rival of our own.
use std::sync::atomic::Ordering::*;

use crossbeam::epoch::{self, Atomic, Owned};

/// The stack.
///
/// Edges: E1 push's Release of `head` -> pop's Acquire: the node. What frees it is crossbeam's affair.
#[derive(Debug, Default)]
pub struct Treiber {
    head: Atomic<Node>,
}

#[derive(Debug)]
struct Node {
    value: u64,
    next: Atomic<Node>,
}

impl Treiber {
    /// Puts a value on top.
    pub fn push(&self, value: u64) {
        let mut node = Owned::new(Node { value, next: Atomic::null() });
        let guard = epoch::pin();
        loop {
            let head = self.head.load(Relaxed, &guard);
            node.next.store(head, Relaxed);
            match self.head.compare_exchange(head, node, Release, Relaxed, &guard) {
                Ok(_) => return, // E1
                Err(failed) => node = failed.new,
            }
        }
    }

    /// Takes the value on top.
    pub fn pop(&self) -> Option<u64> {
        let guard = epoch::pin();
        loop {
            let head = self.head.load(Acquire, &guard); // E1
            // SAFETY: loaded under the guard, so not freed before the guard is dropped; by E1 the node is whole.
            let node = unsafe { head.as_ref() }?;
            let next = node.next.load(Relaxed, &guard);
            if self.head.compare_exchange(head, next, Relaxed, Relaxed, &guard).is_ok() {
                // SAFETY: unlinked by us, once: no new reader can reach it, and old ones are under guards.
                unsafe { guard.defer_destroy(head) };
                return Some(node.value);
            }
        }
    }
}

impl Drop for Treiber {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
