//! What the subject of a lab is called in other languages.

/// The names, if they differ or are worth knowing; `None` for a lab that has none.
pub(super) fn elsewhere(stem: &str) -> Option<&'static str> {
    Some(match stem {
        "lock_mutex" => {
            "C# lock, System.Threading.Lock (lab dotnet_locks); Java synchronized, ReentrantLock; Go sync.Mutex; C++ std::mutex"
        }
        "lock_rwlock" | "lock_readers" => {
            "C# ReaderWriterLockSlim (lab dotnet_locks); Java ReentrantReadWriteLock, StampedLock; Go sync.RWMutex; C++ std::shared_mutex"
        }
        "lock_spin" => {
            "C# SpinLock (lab dotnet_locks), SpinWait; Java Thread.onSpinWait; Go has none; C++ std::atomic_flag"
        }
        "lock_semaphore" => {
            "C# SemaphoreSlim (lab dotnet_locks); Java Semaphore; Go a buffered channel, golang.org/x/sync/semaphore; C++ \
             std::counting_semaphore"
        }
        "lock_condvar" => {
            "C# Monitor.Wait and Pulse; Java Object.wait, Condition; Go sync.Cond; C++ std::condition_variable"
        }
        "lock_once" => {
            "C# Lazy<T>, a static constructor; Java a holder class; Go sync.Once; C++ std::call_once, a static local"
        }
        "lock_seqlock" => "Java StampedLock.tryOptimisticRead; Linux seqlock_t",
        "lock_deadlock" => {
            "the same thread may take C# lock (lab dotnet_locks), Java synchronized and ReentrantReadWriteLock again, but not Go sync.RWMutex or \
             C++ std::shared_mutex; C# ReaderWriterLockSlim throws by default"
        }
        "cache_line" => {
            "Java @Contended; C# StructLayout with padding; C++ std::hardware_destructive_interference_size"
        }
        "cache_scaling" | "lockfree_counter" => {
            "Java LongAdder; C# Interlocked.Increment (lab dotnet_locks), no sharded counter; Go has none; C++ a thread_local and a sum"
        }
        "lockfree_ring" => {
            "Java LMAX Disruptor, JCTools; C# System.Threading.Channels (lab dotnet_locks); Go channels"
        }
        "lockfree_queue" | "lockfree_stack" => {
            "C# ConcurrentQueue, ConcurrentStack; Java ConcurrentLinkedQueue; C++ boost::lockfree; Go has none"
        }
        "lockfree_snapshot" => {
            "Java a volatile reference; C# Volatile.Read of an immutable object, ImmutableDictionary (lab dotnet_locks); C++ std::atomic<std::shared_ptr>; Linux RCU"
        }
        "lockfree_reclaim" => {
            "Java, C# (lab dotnet_large_objects) and Go: the garbage collector does it; C++26 std::hazard_pointer, std::rcu"
        }
        "lockfree_map" => {
            "C# ConcurrentDictionary (lab dotnet_locks); Java ConcurrentHashMap; Go sync.Map; C++ tbb::concurrent_hash_map"
        }
        "order_litmus" => {
            "C++ std::memory_order; Java VarHandle modes; C# Volatile and Interlocked; Go sync/atomic is SeqCst"
        }
        "order_wakeup" => {
            "Java LockSupport.park; C# ManualResetEventSlim; C++ std::atomic::wait; Linux futex"
        }
        "os_cost" => {
            "C# Thread, Task (lab dotnet_async); Java platform and virtual threads; Go goroutines (2 KiB stacks that grow); C++ std::thread, coroutines"
        }
        "os_shared_core" => "every language: the operating system shows the second thread as one more CPU",
        "sched_steal" => {
            "Java ForkJoinPool; C# the thread pool's local queues (lab dotnet_starvation, row with PreferFairness); Go a run queue for each P; C++ oneTBB; Rust rayon (crossbeam-deque)"
        }
        "async_state_machine" => {
            "C# an IAsyncStateMachine (lab dotnet_async); Kotlin continuations; C++20 coroutine frames; Go goroutines have stacks"
        }
        "async_deadlock" => {
            "C# .Result on a thread with a synchronization context (lab dotnet_starvation); Kotlin runBlocking inside a \
             coroutine; Go reports a deadlock only if every goroutine waits"
        }
        "async_cancel" => {
            "C# CancellationToken; Go context.Context; Kotlin structured concurrency: there a cancelled task is told, in Rust \
             it is dropped"
        }
        "async_timeout" => {
            "C# Task.WaitAsync, CancellationTokenSource.CancelAfter; Go context.WithTimeout; Kotlin withTimeout; Python asyncio.timeout"
        }
        "async_observer" => {
            "C# dotnet-counters: threadpool-queue-length, threadpool-thread-count (lab dotnet_starvation); Java JFR; Go runtime/metrics, /sched/latencies; Node.js \
             perf_hooks.monitorEventLoopDelay"
        }
        "async_starvation" | "async_cures" => {
            "C# thread-pool starvation (lab dotnet_starvation); Node.js a blocked event loop; Go adds threads for system calls"
        }
        "async_locks" => "C# SemaphoreSlim.WaitAsync (lab dotnet_locks); Kotlin Mutex; Python asyncio.Lock",
        "flow_rate_limit" => {
            "C# System.Threading.RateLimiting; Java Guava RateLimiter, Resilience4j; Go golang.org/x/time/rate"
        }
        "flow_bulkhead" => {
            "C# ConcurrencyLimiter (System.Threading.RateLimiting), Polly; Java Resilience4j, Netflix concurrency-limits; Go a buffered channel"
        }
        "async_pool" => {
            "C# ThreadPool.SetMinThreads and SetMaxThreads (lab dotnet_starvation), Channel.CreateBounded, Parallel.ForEachAsync; Java ThreadPoolExecutor; Go has no pool, GOMAXPROCS"
        }
        "async_find" => {
            "C# dotnet-counters and dotnet-dump for a starved thread pool (lab dotnet_starvation); Java JFR's jdk.VirtualThreadPinned; Go a trace with go tool trace; Node.js perf_hooks.monitorEventLoopDelay; Python asyncio's slow_callback_duration"
        }
        "async_fairness" => {
            "C# Task.Yield (lab dotnet_async); Java a virtual thread keeps its carrier until it blocks; Go preempts by time, its select takes a random ready case; Node.js setImmediate"
        }
        "flow_retry" => "C# Polly; Java Resilience4j; gRPC retryThrottling; Go a loop written by hand",
        "async_channels" => {
            "C# System.Threading.Channels (lab dotnet_locks); Java an ArrayBlockingQueue between virtual threads; Kotlin Channel; Go channels, whose default room is 0"
        }
        "gc_large_objects" => {
            "C# the large object heap (lab dotnet_large_objects); Java G1 humongous objects (lab gc_reference_jvm); Go large spans"
        }
        "gc_pause" => {
            "C# background collection, of generation 2 only (lab dotnet_large_objects); Java G1, ZGC, Shenandoah; Go a concurrent mark and sweep"
        }
        "container_limits" => {
            "C# GCHeapHardLimit (lab dotnet_container); Java -XX:MaxRAMPercentage; Go GOMEMLIMIT, GOMAXPROCS"
        }
        "dotnet_leak" => {
            "Java Cleaner, WeakReference, WeakHashMap, finalize() is deprecated; Go goroutines that wait for ever, runtime.SetFinalizer, AddCleanup, weak.Pointer; C++ and Rust cycles of shared_ptr or Rc"
        }
        "alloc_growth" => {
            "C# List<T> copies; Java ArrayList copies; Go append copies; C++ std::vector can't use realloc"
        }
        "alloc_over_time" => {
            "C# GC.Collect, GCCollectionMode.Aggressive (lab dotnet_container); Java -XX:+UseZGC with uncommit; Go debug.FreeOSMemory, the scavenger; C++ malloc_trim, mallctl purge"
        }
        "alloc_compare" => {
            "C++ the same libraries by LD_PRELOAD; Go and the JVM have allocators of their own"
        }
        "alloc_arena" => {
            "C# ArrayPool (lab dotnet_large_objects), ObjectPool, stackalloc; Java and Go escape analysis, Go sync.Pool; C++ std::pmr::monotonic_buffer_resource"
        }
        "collections_cost" => {
            "C# Dictionary, SortedDictionary; Java HashMap, TreeMap; Go map; C++ std::unordered_map, std::map"
        }
        "collections_worst" => {
            "C# Dictionary resizes at once; Java HashMap turns long chains into trees; Go's map grows bit by bit"
        }
        _ => return None,
    })
}
