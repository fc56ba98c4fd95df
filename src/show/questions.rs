//! Questions that interviewers ask, and the steps that answer them by measurement. Collected from public interview reports and question banks.
use crate::lab::Lab;

/// A question, and the steps that answer it, as `lab/step`.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// As it is asked.
    pub asked: &'static str,
    /// `lab/step`, the best first.
    pub steps: &'static [&'static str],
}

const fn q(asked: &'static str, steps: &'static [&'static str]) -> Question {
    Question { asked, steps }
}

/// By subject, in the order of the labs.
pub const QUESTIONS: &[(&str, &[Question])] = &[
    (
        "Locks",
        &[
            q(
                "What does an uncontended mutex cost, and what does a contended one?",
                &["lock_mutex/alone", "lock_mutex/crowd"],
            ),
            q(
                "How do you scale past a lock-contention bottleneck?",
                &["cache_scaling/counter", "cache_scaling/map"],
            ),
            q(
                "When is a reader-writer lock better than a mutex?",
                &["lock_rwlock/crossover", "lock_rwlock/mix"],
            ),
            q(
                "Why can a reader-writer lock be slower than a mutex although everybody only reads?",
                &["lock_rwlock/readers", "lock_readers/distributed"],
            ),
            q("Can a reader-writer lock starve its writers?", &["lock_readers/who_starves"]),
            q(
                "Fair or unfair lock: what does fairness cost, and what does it buy?",
                &["lock_mutex/who_waits", "lock_mutex/barging"],
            ),
            q(
                "Spin or sleep? What happens to a spin lock with more threads than CPUs?",
                &["lock_spin/within", "lock_spin/beyond", "lock_spin/holder_away"],
            ),
            q(
                "Semaphore or mutex: what does a permit cost, and who is served first?",
                &["lock_semaphore/alone", "lock_semaphore/handover"],
            ),
            q(
                "Can a big request at the head of the line block small ones?",
                &["lock_semaphore/head_of_line"],
            ),
            q("What is a seqlock, and when do readers retry?", &["lock_seqlock/beside_writer"]),
            q(
                "Is it safe to take the same read lock twice? How do two locks deadlock?",
                &["lock_deadlock/read_twice", "lock_deadlock/two_locks"],
            ),
            q(
                "Why does a condition variable need a mutex and a while loop? What is a spurious wake-up?",
                &["lock_condvar/without_loop"],
            ),
            q("notify_one or notify_all?", &["lock_condvar/herd"]),
            q("Write a bounded blocking queue.", &["lock_condvar/queue"]),
            q(
                "Lazy initialisation, double-checked locking, OnceLock: what does it cost afterwards?",
                &["lock_once/alone"],
            ),
            q("What is a race condition? How many of count++ are lost?", &["lock_once/lost"]),
            q("Get or add in a cache: why does the factory run twice?", &["lock_once/factory"]),
            q("What is wrong with this micro-benchmark?", &["lock_audit/gallery"]),
        ],
    ),
    (
        "Caches, lock-free structures, memory ordering",
        &[
            q(
                "What is false sharing, and how do you remove it?",
                &["cache_line/padding", "cache_line/interference"],
            ),
            q("The memory hierarchy in ns: L1, L2, L3, memory?", &["cache_ladder/distance"]),
            q("What is a TLB miss, and what do huge pages change for reads?", &["cache_ladder/reach"]),
            q("Why is sorted data faster to filter (branch prediction)?", &["cache_ladder/branch"]),
            q("Array of structs or struct of arrays?", &["cache_ladder/layout"]),
            q("Local or remote memory (NUMA): how long does a load take?", &["cache_ladder/node"]),
            q(
                "Amdahl's law or the universal scalability law: where does your program stop scaling?",
                &["cache_scaling/law"],
            ),
            q(
                "What does fetch_add cost alone, and when all threads do it?",
                &["lockfree_counter/alone", "lockfree_counter/crowd"],
            ),
            q(
                "Lock-free, wait-free, obstruction-free: what happens if a thread stops in the middle?",
                &["lockfree_progress/published", "lockfree_progress/bags"],
            ),
            q(
                "Write a single-producer, single-consumer ring. What makes it fast?",
                &["lockfree_ring/one_way", "lockfree_ring/ping_pong"],
            ),
            q(
                "Is a lock-free stack faster than a Vec behind a mutex?",
                &["lockfree_stack/crowd", "lockfree_stack/worst"],
            ),
            q(
                "Is a lock-free queue faster than a locked one?",
                &["lockfree_queue/crowd", "lockfree_queue/worst"],
            ),
            q(
                "What is the ABA problem, and how is memory freed under readers (epochs, hazard pointers)?",
                &["lockfree_reclaim/read", "lockfree_reclaim/stalled"],
            ),
            q(
                "How do you publish a configuration that everybody reads (RCU, Arc swap)?",
                &["lockfree_snapshot/publish_rate"],
            ),
            q(
                "Which concurrent map for which mix of reads and writes?",
                &["lockfree_map/mix", "lockfree_map/skew"],
            ),
            q(
                "Which reorderings does x86 show, and which does the language allow?",
                &["order_litmus/all", "order_litmus/store_then_load"],
            ),
            q("How is a wake-up lost, and which fence prevents it?", &["order_wakeup/event"]),
            q(
                "Which tool finds which race: stress test, ThreadSanitizer, model checker?",
                &["order_detect/threads", "order_detect/models"],
            ),
        ],
    ),
    (
        "Async, thread pools",
        &[
            q(
                "What does the compiler make of an async fn?",
                &["async_state_machine/states", "async_state_machine/poll_by_poll"],
            ),
            q(
                "Why is this future so large, and what does that cost?",
                &["async_state_machine/size_rules", "async_state_machine/cost_of_size"],
            ),
            q("Why does blocking on an async task starve the runtime?", &["async_starvation/starve"]),
            q(
                "How do you cure it: spawn_blocking, block_in_place, more workers, yielding?",
                &["async_cures/matrix"],
            ),
            q(
                "Why does .Result or block_on inside a task hang for ever?",
                &["async_deadlock/riddle", "dotnet_starvation/context"],
            ),
            q(
                "Why does the .NET thread pool starve, and how fast does it recover?",
                &["dotnet_starvation/pool"],
            ),
            q(
                "What is lost when a future is dropped halfway (select!, a timeout)?",
                &["async_cancel/cancel"],
            ),
            q("Does a timeout fire while the task blocks?", &["async_timeout/honesty", "async_timeout/leak"]),
            q(
                "std::sync::Mutex or tokio::sync::Mutex? May a guard be held across an await?",
                &["async_locks/no_await", "async_locks/across_await", "async_locks/std_guard"],
            ),
            q(
                "Can a task starve others although it awaits? What does tokio's budget of 128 do?",
                &["async_fairness/budget", "async_fairness/timer"],
            ),
            q("What does biased do in select!, and whom can it starve?", &["async_fairness/biased"]),
            q(
                "Why does one task with join! hang, and why do more workers not help?",
                &["async_fairness/one_task"],
            ),
            q(
                "How do you find a blocked worker in production?",
                &["async_observer/wedge", "async_deadlock/detector"],
            ),
            q(
                "Which tool names the task that blocks the runtime, and how soon?",
                &["async_find/names", "async_find/delay"],
            ),
            q(
                "What does a heartbeat of the runtime not see, and when is its alarm false?",
                &["async_find/names", "async_find/false_alarms"],
            ),
            q("What does it cost to time every poll?", &["async_find/cost"]),
            q(
                "Task or ValueTask: what does an await cost if it is ready at once, and if it is not?",
                &["dotnet_async/one", "dotnet_async/many"],
            ),
        ],
    ),
    (
        "Operating system and pools",
        &[
            q(
                "Thread or task: what do start, memory and a switch cost?",
                &["os_cost/start", "os_cost/memory", "os_cost/switch"],
            ),
            q("What does a system call cost, and what is the vDSO?", &["os_cost/call"]),
            q(
                "Hyperthreading: what do two threads on one core share, and what does it cost?",
                &["os_shared_core/work"],
            ),
            q("How many threads should a pool have: N, N + 1, N x (1 + W/C)?", &["async_pool/size"]),
            q(
                "What is work stealing? Why does the owner take the newest task, and a thief the oldest?",
                &["sched_steal/order", "sched_steal/deques"],
            ),
            q(
                "Go's G, M and P: what happens to the other tasks when one blocks its thread?",
                &["sched_steal/blocking", "async_starvation/starve"],
            ),
            q("What stalls when the blocking pool is full?", &["async_pool/blocking"]),
            q("Bounded or unbounded channel: what does back-pressure do?", &["async_pool/channel"]),
            q("Start 10,000 calls at once, or with a limit?", &["async_pool/burst"]),
            q(
                "Which async channel, and what does an item cost on one thread and between two?",
                &["async_channels/place", "async_channels/payload"],
            ),
            q(
                "How much room should a channel have? What does room for one item do?",
                &["async_channels/capacity"],
            ),
            q("What do many senders cost a channel with one receiver?", &["async_channels/senders"]),
        ],
    ),
    (
        "Memory and allocators",
        &[
            q(
                "How does malloc work for small and for large sizes? Where is the border?",
                &["alloc_compare/sizes", "alloc_cliff/cliff"],
            ),
            q(
                "What does the first touch of a page cost, and who pays?",
                &["alloc_first_touch/who_pays", "alloc_growth/zeroed"],
            ),
            q(
                "Does a large allocation stop other threads?",
                &["alloc_first_touch/bystander", "alloc_mmap_lock/who_waits"],
            ),
            q(
                "glibc, jemalloc or mimalloc: what changes with threads, and when another thread frees?",
                &["alloc_compare/crowd", "alloc_compare/elsewhere"],
            ),
            q(
                "Why does my process not give memory back?",
                &["alloc_compare/given_back", "alloc_over_time/idle", "alloc_compare/ended"],
            ),
            q(
                "RSS grows: is it a leak, fragmentation or a cache? Which counter tells?",
                &["alloc_over_time/which", "alloc_over_time/rounds"],
            ),
            q("What does giving memory back cost the next burst?", &["alloc_over_time/next_burst"]),
            q(
                "Stack, arena, free-list pool, object pool: why is malloc banned from the hot path?",
                &["alloc_arena/cheap"],
            ),
            q(
                "Write malloc and free.",
                &["alloc_arena/own", "alloc_arena/freed_elsewhere", "alloc_arena/overhead"],
            ),
            q("Do huge pages help?", &["alloc_pages/trade", "alloc_pages/cold"]),
            q("What does growing a vector cost: copy or remap?", &["alloc_growth/grow"]),
        ],
    ),
    (
        "Garbage collection and containers",
        &[
            q(
                "Why do allocations on .NET's large object heap (LOH) stop the world?",
                &[
                    "dotnet_large_objects/collections",
                    "dotnet_large_objects/pauses",
                    "dotnet_large_objects/edge",
                ],
            ),
            q(
                "Background or blocking collection, workstation or server GC: what does each do to pauses?",
                &["dotnet_large_objects/pauses", "dotnet_container/cpus"],
            ),
            q(
                "How do you avoid pauses of the LOH: ArrayPool, GCLOHThreshold, smaller chunks?",
                &["dotnet_large_objects/cures"],
            ),
            q(
                "What decides how long a collector stops the world?",
                &["gc_pause/plans", "gc_large_objects/alive"],
            ),
            q("Why can the program run out of memory although the collector works?", &["gc_pause/outrun"]),
            q("Humongous objects in G1: what changes at half a region?", &["gc_reference_jvm/humongous"]),
            q("Is a large array expensive on the JVM too, or only on .NET?", &["dotnet_beside/edge"]),
            q(
                "How does a garbage collector behave under a container's memory limit?",
                &["dotnet_container/memory", "container_limits/memory"],
            ),
            q(
                "What does a CPU quota do to pauses and to the number of threads?",
                &["container_limits/quota", "dotnet_container/cpus", "dotnet_container/busy"],
            ),
            q("Why does an idle service keep its memory?", &["dotnet_container/idle"]),
            q(
                "The heap has holes: what does it cost to compact the large object heap?",
                &["dotnet_large_objects/compact"],
            ),
            q(
                "How can garbage-collected code leak: static caches, listeners, closures?",
                &["dotnet_leak/leaks", "dotnet_leak/closures"],
            ),
            q("The managed heap grows: leak or garbage? Which counter tells?", &["dotnet_leak/growth"]),
            q(
                "Finalizers and IDisposable: what does a finalizer cost, and what does a slow one hold up?",
                &["dotnet_leak/finalizers", "dotnet_leak/survives", "dotnet_leak/queue"],
            ),
            q("What do pinned objects do to compaction?", &["dotnet_leak/pinned"]),
            q(
                "What is a weak reference, and what does one cost?",
                &["dotnet_leak/weak", "dotnet_leak/leaks"],
            ),
        ],
    ),
    (
        ".NET's locks",
        &[
            q(
                "lock, System.Threading.Lock, SpinLock, SemaphoreSlim, ReaderWriterLockSlim: what does each cost?",
                &["dotnet_locks/alone", "dotnet_locks/crowd"],
            ),
            q(
                "When does ReaderWriterLockSlim beat lock?",
                &["dotnet_locks/readers", "dotnet_locks/crossover"],
            ),
            q("ConcurrentDictionary or a Dictionary behind a lock?", &["dotnet_locks/shared"]),
        ],
    ),
    (
        "Limits, queues, collections",
        &[
            q(
                "Design a rate limiter: fixed window, token bucket, GCRA. What gets through?",
                &["flow_rate_limit/truth", "flow_rate_limit/decide", "flow_rate_limit/keys"],
            ),
            q("A backend slows down tenfold. What keeps the service alive?", &["flow_bulkhead/slow"]),
            q(
                "Retry storms: what do back-off, jitter and a budget do? What is a metastable failure?",
                &["flow_retry/storm"],
            ),
            q("FIFO, LIFO or CoDel for a queue under overload?", &["flow_retry/queue"]),
            q("Hedged requests: what do they buy, and what do they cost?", &["flow_retry/hedge"]),
            q("Latency against utilisation: why not run at 95 %?", &["flow_retry/busy"]),
            q("One tenant misbehaves: how do you protect the others?", &["flow_noisy_neighbor/others"]),
            q(
                "How would you keep the presence (who is online) of 100 million users?",
                &["flow_presence/weight", "flow_presence/beats"],
            ),
            q(
                "When does a scan of a vector beat a hash map?",
                &["collections_cost/small", "collections_cost/large"],
            ),
            q(
                "Vec, VecDeque or a linked list as a queue?",
                &["collections_cost/fifo", "collections_cost/walk"],
            ),
            q(
                "What is the worst single insert into a hash map, and can an attacker choose it?",
                &["collections_worst/grow", "collections_worst/flood"],
            ),
        ],
    ),
];

/// What interviewers also ask, and no lab measures yet.
pub const NOT_YET: &[&str] =
    &["pipes and sockets against shared memory between processes, epoll and io_uring", "goroutine leaks"];

/// The lines of the notes' block: by subject, each question with links to its labs.
pub(super) fn lines(labs: &[&Lab]) -> Vec<String> {
    let mut out = Vec::new();
    for (subject, questions) in QUESTIONS {
        out.extend([format!("**{subject}**"), String::new()]);
        for question in *questions {
            let links: Vec<String> = question.steps.iter().map(|step| link(labs, step)).collect();
            out.push(format!("- {} {}", question.asked, links.join(", ")));
        }
        out.push(String::new());
    }
    out.push(format!("Not measured yet: {}.", NOT_YET.join("; ")));
    out
}

fn link(labs: &[&Lab], step: &str) -> String {
    let lab = step.split('/').next().unwrap_or_default();
    // A build without the lab still names it: the records are there.
    if labs.iter().any(|l| l.stem == lab) { format!("[`{step}`](#{lab})") } else { format!("`{step}`") }
}

/// The questions that contain all of these words, letters in either case; with their subjects.
pub fn about(words: &[String]) -> Vec<(&'static str, &'static Question)> {
    let all = QUESTIONS.iter().flat_map(|(subject, questions)| questions.iter().map(move |q| (*subject, q)));
    let contains = |q: &Question, subject: &str| {
        let text = format!("{subject} {} {}", q.asked, q.steps.join(" ")).to_lowercase();
        words.iter().all(|word| text.contains(&word.to_lowercase()))
    };
    all.filter(|(subject, q)| contains(q, subject)).collect()
}
