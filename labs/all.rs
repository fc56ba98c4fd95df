//! The table of contents: every lab, in the order in which a reader should meet them. Included by the program, the benches and the tests.
#[path = "alloc_arena.rs"]
pub(crate) mod alloc_arena;
#[path = "alloc_cliff.rs"]
pub(crate) mod alloc_cliff;
#[path = "alloc_compare.rs"]
pub(crate) mod alloc_compare;
#[path = "alloc_first_touch.rs"]
pub(crate) mod alloc_first_touch;
#[path = "alloc_growth.rs"]
pub(crate) mod alloc_growth;
#[path = "alloc_mmap_lock.rs"]
pub(crate) mod alloc_mmap_lock;
#[path = "alloc_over_time.rs"]
pub(crate) mod alloc_over_time;
#[path = "alloc_pages.rs"]
pub(crate) mod alloc_pages;
#[path = "async_cancel.rs"]
pub(crate) mod async_cancel;
#[path = "async_channels.rs"]
pub(crate) mod async_channels;
#[path = "async_cures.rs"]
pub(crate) mod async_cures;
#[path = "async_deadlock.rs"]
pub(crate) mod async_deadlock;
#[path = "async_fairness.rs"]
pub(crate) mod async_fairness;
#[path = "async_find.rs"]
pub(crate) mod async_find;
#[path = "async_locks.rs"]
pub(crate) mod async_locks;
#[path = "async_observer.rs"]
pub(crate) mod async_observer;
#[path = "async_pool.rs"]
pub(crate) mod async_pool;
#[path = "async_starvation.rs"]
pub(crate) mod async_starvation;
#[path = "async_state_machine.rs"]
pub(crate) mod async_state_machine;
#[path = "async_timeout.rs"]
pub(crate) mod async_timeout;
#[path = "cache_ladder.rs"]
pub(crate) mod cache_ladder;
#[path = "cache_line.rs"]
pub(crate) mod cache_line;
#[path = "cache_scaling.rs"]
pub(crate) mod cache_scaling;
#[path = "collections_cost.rs"]
pub(crate) mod collections_cost;
#[path = "collections_worst.rs"]
pub(crate) mod collections_worst;
#[cfg(feature = "gc")]
#[path = "container_limits.rs"]
pub(crate) mod container_limits;
#[path = "dotnet_async.rs"]
pub(crate) mod dotnet_async;
#[path = "dotnet_beside.rs"]
pub(crate) mod dotnet_beside;
#[path = "dotnet_container.rs"]
pub(crate) mod dotnet_container;
#[path = "dotnet_large_objects.rs"]
pub(crate) mod dotnet_large_objects;
#[path = "dotnet_leak.rs"]
pub(crate) mod dotnet_leak;
#[path = "dotnet_locks.rs"]
pub(crate) mod dotnet_locks;
#[path = "dotnet_starvation.rs"]
pub(crate) mod dotnet_starvation;
#[path = "flow_bulkhead.rs"]
pub(crate) mod flow_bulkhead;
#[path = "flow_noisy_neighbor.rs"]
pub(crate) mod flow_noisy_neighbor;
#[path = "flow_presence.rs"]
pub(crate) mod flow_presence;
#[path = "flow_rate_limit.rs"]
pub(crate) mod flow_rate_limit;
#[path = "flow_retry.rs"]
pub(crate) mod flow_retry;
#[cfg(feature = "gc")]
#[path = "gc_large_objects.rs"]
pub(crate) mod gc_large_objects;
#[cfg(feature = "gc")]
#[path = "gc_pause.rs"]
pub(crate) mod gc_pause;
#[path = "gc_reference_jvm.rs"]
pub(crate) mod gc_reference_jvm;
#[path = "lock_audit.rs"]
pub(crate) mod lock_audit;
#[path = "lock_condvar.rs"]
pub(crate) mod lock_condvar;
#[path = "lock_deadlock.rs"]
pub(crate) mod lock_deadlock;
#[path = "lock_mutex.rs"]
pub(crate) mod lock_mutex;
#[path = "lock_once.rs"]
pub(crate) mod lock_once;
#[path = "lock_readers.rs"]
pub(crate) mod lock_readers;
#[path = "lock_rwlock.rs"]
pub(crate) mod lock_rwlock;
#[path = "lock_semaphore.rs"]
pub(crate) mod lock_semaphore;
#[path = "lock_seqlock.rs"]
pub(crate) mod lock_seqlock;
#[path = "lock_spin.rs"]
pub(crate) mod lock_spin;
#[path = "lockfree_counter.rs"]
pub(crate) mod lockfree_counter;
#[path = "lockfree_map.rs"]
pub(crate) mod lockfree_map;
#[path = "lockfree_progress.rs"]
pub(crate) mod lockfree_progress;
#[path = "lockfree_queue.rs"]
pub(crate) mod lockfree_queue;
#[path = "lockfree_reclaim.rs"]
pub(crate) mod lockfree_reclaim;
#[path = "lockfree_ring.rs"]
pub(crate) mod lockfree_ring;
#[path = "lockfree_snapshot.rs"]
pub(crate) mod lockfree_snapshot;
#[path = "lockfree_stack.rs"]
pub(crate) mod lockfree_stack;
#[path = "order_detect.rs"]
pub(crate) mod order_detect;
#[path = "order_litmus.rs"]
pub(crate) mod order_litmus;
#[path = "order_wakeup.rs"]
pub(crate) mod order_wakeup;
#[path = "os_cost.rs"]
pub(crate) mod os_cost;
#[path = "os_shared_core.rs"]
pub(crate) mod os_shared_core;
#[path = "sched_steal.rs"]
pub(crate) mod sched_steal;

/// The labs, in the order in which a reader should meet them.
pub(crate) fn labs() -> &'static [underhood::lab::Lab] {
    static LABS: std::sync::LazyLock<Vec<underhood::lab::Lab>> = std::sync::LazyLock::new(|| {
        vec![
            lock_mutex::lab(),
            lock_rwlock::lab(),
            lock_spin::lab(),
            lock_semaphore::lab(),
            lock_condvar::lab(),
            lock_once::lab(),
            lock_seqlock::lab(),
            lock_readers::lab(),
            lock_deadlock::lab(),
            lock_audit::lab(),
            cache_line::lab(),
            cache_ladder::lab(),
            cache_scaling::lab(),
            lockfree_counter::lab(),
            lockfree_ring::lab(),
            lockfree_queue::lab(),
            lockfree_stack::lab(),
            lockfree_snapshot::lab(),
            lockfree_reclaim::lab(),
            lockfree_map::lab(),
            lockfree_progress::lab(),
            order_litmus::lab(),
            order_wakeup::lab(),
            order_detect::lab(),
            os_cost::lab(),
            os_shared_core::lab(),
            sched_steal::lab(),
            async_state_machine::lab(),
            async_cancel::lab(),
            async_starvation::lab(),
            async_cures::lab(),
            async_observer::lab(),
            async_deadlock::lab(),
            async_find::lab(),
            async_timeout::lab(),
            async_locks::lab(),
            async_pool::lab(),
            async_fairness::lab(),
            async_channels::lab(),
            flow_rate_limit::lab(),
            flow_bulkhead::lab(),
            flow_retry::lab(),
            flow_noisy_neighbor::lab(),
            flow_presence::lab(),
            #[cfg(feature = "gc")]
            gc_large_objects::lab(),
            #[cfg(feature = "gc")]
            gc_pause::lab(),
            #[cfg(feature = "gc")]
            container_limits::lab(),
            gc_reference_jvm::lab(),
            dotnet_large_objects::lab(),
            dotnet_beside::lab(),
            dotnet_leak::lab(),
            dotnet_container::lab(),
            dotnet_starvation::lab(),
            dotnet_locks::lab(),
            dotnet_async::lab(),
            alloc_first_touch::lab(),
            alloc_cliff::lab(),
            alloc_growth::lab(),
            alloc_pages::lab(),
            alloc_mmap_lock::lab(),
            alloc_compare::lab(),
            alloc_over_time::lab(),
            alloc_arena::lab(),
            collections_cost::lab(),
            collections_worst::lab(),
        ]
    });
    &LABS
}
