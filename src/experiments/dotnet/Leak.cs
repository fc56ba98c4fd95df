// What stays alive although the program is done with it, and what finalizers, weak references and pinned objects cost.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

/// Whatever is dropped is made in a method of its own that is not inlined: a local variable of the measuring method may live to its end.
public static class Leak
{
    const MethodImplOptions Apart = MethodImplOptions.NoInlining;

    /// What a program makes to answer somebody, and is done with afterwards.
    class Request
    {
        public readonly byte[] Buffer = new byte[1024];

        public Request(int id) { Buffer[id % 1024] = 1; }

        public void OnTick(object sender, EventArgs e) { Buffer[0]++; }

        /// The work: 1 from each.
        [MethodImpl(Apart)]
        public int Serve()
        {
            int sum = 0;
            foreach (byte b in Buffer) sum += b;
            return sum;
        }
    }

    /// A request that a timer calls back, an hour from now.
    sealed class Timed : Request
    {
        readonly Timer timer;

        /// Without `held`, nobody keeps the Timer itself.
        public Timed(int id, bool held) : base(id)
        {
            Timer made = new Timer(state => OnTick(state, null), null, 3600000, 3600000);
            if (held) timer = made;
        }

        public void Dispose() { timer.Dispose(); }
    }

    sealed class Publisher
    {
        public event EventHandler Tick;

        public void Say() { if (Tick != null) Tick(this, null); }
    }

    // What lives as long as the program.
    static Publisher publisher;
    static CancellationTokenSource stopping;
    static Dictionary<int, Request> cache;
    static Dictionary<int, WeakReference> weakCache;
    static List<Func<int>> kept;

    /// leak WAYS COUNT: so many requests are served and dropped; what is alive of them after full collections.
    public static void Run(string way, int count)
    {
        publisher = new Publisher();
        stopping = new CancellationTokenSource();
        cache = new Dictionary<int, Request>();
        weakCache = new Dictionary<int, WeakReference>();
        Func<int, Request> serve = Way(way);
        // These count the requests that are alive, and are made before, so that they are no part of the difference.
        WeakReference[] watched = new WeakReference[count];
        for (int i = 0; i < count; i++) watched[i] = new WeakReference(null);
        Alive(watched);
        long before = Settled();
        int served = Serve(serve, watched);
        long after = Settled();
        Tell.Each("retained_bytes", Math.Max(0.0, after - before) / count);
        Tell.Value("alive_share", (double)Alive(watched) / count);
        Tell.Value("requests_count", served);
        GC.KeepAlive(watched);
    }

    [MethodImpl(Apart)]
    static int Serve(Func<int, Request> serve, WeakReference[] watched)
    {
        int served = 0;
        for (int i = 0; i < watched.Length; i++)
        {
            Request request = serve(i);
            served += request.Serve();
            watched[i].Target = request;
        }
        return served;
    }

    [MethodImpl(Apart)]
    static int Alive(WeakReference[] watched)
    {
        int alive = 0;
        foreach (WeakReference one in watched) if (one.Target != null) alive++;
        return alive;
    }

    /// Bytes of the heap after full collections and finalizers. The first collection may still see what a register or a stack slot held.
    [MethodImpl(Apart)]
    static long Settled()
    {
        for (int i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        return GC.GetTotalMemory(true);
    }

    static Func<int, Request> Way(string way)
    {
        switch (way)
        {
            case "dropped": return i => new Request(i);
            case "static_cache": return i => cache[i] = new Request(i);
            case "weak_cache":
                return i => { Request request = new Request(i); weakCache[i] = new WeakReference(request); return request; };
            case "listener": return i => Listening(i);
            case "listener_removed":
                return i => { Request request = Listening(i); publisher.Tick -= request.OnTick; return request; };
            case "token_callback": return i => { Request request = new Request(i); Registered(request); return request; };
            case "token_callback_disposed":
                return i => { Request request = new Request(i); Registered(request).Dispose(); return request; };
            case "timer_held": return i => new Timed(i, true);
            case "timer_not_held": return i => new Timed(i, false);
            case "timer_disposed": return i => { Timed request = new Timed(i, true); request.Dispose(); return request; };
            default: throw new ArgumentException("no such way: " + way);
        }
    }

    static Request Listening(int i)
    {
        Request request = new Request(i);
        publisher.Tick += request.OnTick;
        return request;
    }

    static CancellationTokenRegistration Registered(Request request)
    {
        return stopping.Token.Register(() => request.OnTick(null, null));
    }

    /// closure WAYS COUNT: so many lambdas are kept; what else is alive because of them.
    public static void Closure(string way, int count)
    {
        kept = new List<Func<int>>(count);
        Keep(way, 0);
        kept.Clear();
        long before = Settled();
        int served = 0;
        for (int i = 0; i < count; i++) served += Keep(way, i);
        long after = Settled();
        Tell.Each("retained_bytes", Math.Max(0.0, after - before) / count);
        // Each lambda is used, so each was alive when that was read.
        int used = 0;
        foreach (Func<int> one in kept) used += one() > 0 ? 1 : 0;
        Tell.Value("requests_count", Math.Min(served, used));
    }

    [MethodImpl(Apart)]
    static int Keep(string way, int i)
    {
        switch (way)
        {
            case "uses_buffer": return UsesBuffer(i);
            case "uses_number": return UsesNumber(i);
            case "shared_scope": return SharedScope(i);
            case "own_method": return OwnMethod(i);
            default: throw new ArgumentException("no such way: " + way);
        }
    }

    [MethodImpl(Apart)]
    static int UsesBuffer(int i)
    {
        Request request = new Request(i);
        kept.Add(() => request.Buffer.Length);
        return request.Serve();
    }

    [MethodImpl(Apart)]
    static int UsesNumber(int i)
    {
        Request request = new Request(i);
        int id = i + 1;
        kept.Add(() => id);
        return request.Serve();
    }

    /// Two lambdas of one method: the one that is kept uses the number alone.
    [MethodImpl(Apart)]
    static int SharedScope(int i)
    {
        Request request = new Request(i);
        int id = i + 1;
        Func<int> now = () => request.Serve();
        kept.Add(() => id);
        return now();
    }

    /// The same, but the lambda that is kept is made in a method of its own.
    [MethodImpl(Apart)]
    static int OwnMethod(int i)
    {
        Request request = new Request(i);
        Func<int> now = () => request.Serve();
        KeepNumber(i + 1);
        return now();
    }

    [MethodImpl(Apart)]
    static void KeepNumber(int id)
    {
        kept.Add(() => id);
    }

    /// rounds WAY ROUNDS COUNT: so many rounds of so many requests each. What the counters say while they run, and what full collections
    /// before and after them say.
    public static int Rounds(string[] args)
    {
        int rounds = int.Parse(args[2]), count = int.Parse(args[3]);
        Action<int> serve = RoundWay(args[1], count);
        // Whatever fills up once, fills up here.
        Round(serve, count);
        Round(serve, count);
        double live = Settled(), least = double.MaxValue, most = 0;
        int young = GC.CollectionCount(0), full = GC.CollectionCount(2);
        long allocated = Newer.AllAllocatedBytes();
        for (int round = 0; round < rounds; round++)
        {
            for (int part = 0; part < 10; part++)
            {
                Round(serve, count / 10);
                double now = GC.GetTotalMemory(false);
                least = Math.Min(least, now);
                most = Math.Max(most, now);
            }
        }
        full = GC.CollectionCount(2) - full;
        Tell.Value("swing_bytes", most - least);
        Tell.Value("allocated_bytes", (double)(Newer.AllAllocatedBytes() - allocated) / rounds);
        Tell.Value("young_count", GC.CollectionCount(0) - young - full);
        Tell.Value("full_count", full);
        Tell.Value("growth_bytes", Math.Max(0, Settled() - live) / rounds);
        About.Collector();
        GC.KeepAlive(serve);
        return 0;
    }

    [MethodImpl(Apart)]
    static void Round(Action<int> serve, int count)
    {
        for (int i = 0; i < count; i++) serve(i);
    }

    static Action<int> RoundWay(string way, int count)
    {
        // One of a hundred requests is kept.
        int few = count / 100;
        switch (way)
        {
            case "churn": return i => new Request(i).Serve();
            case "leak":
                List<Request> all = new List<Request>(1 << 20);
                return i => { Request request = new Request(i); request.Serve(); if (i % 100 == 0) all.Add(request); };
            case "bounded_cache":
                Queue<Request> cached = new Queue<Request>();
                return i =>
                {
                    Request request = new Request(i);
                    request.Serve();
                    if (i % 100 != 0) return;
                    cached.Enqueue(request);
                    if (cached.Count > few) cached.Dequeue();
                };
            case "used_half_a_round":
                // Each request is in use until half a round later.
                Queue<Request> used = new Queue<Request>();
                return i =>
                {
                    Request request = new Request(i);
                    request.Serve();
                    used.Enqueue(request);
                    if (used.Count > count / 2) used.Dequeue();
                };
            default: throw new ArgumentException("no such way: " + way);
        }
    }
}

/// Objects with a finalizer and without.
public static class Finalizers
{
    const MethodImplOptions Apart = MethodImplOptions.NoInlining;
    const int Kib = 1024;

    static int finalized;

    class Plain
    {
        public byte[] Buffer;
        public int Used;
    }

    class Finalized : IDisposable
    {
        public byte[] Buffer;
        public int Used;

        ~Finalized() { Interlocked.Increment(ref finalized); }

        public void Dispose() { GC.SuppressFinalize(this); }
    }

    /// The small object with the finalizer, as a SafeHandle is one; the buffer belongs to the object around it, which has none.
    sealed class Handled
    {
        public byte[] Buffer;
        public Finalized Handle = new Finalized();
    }

    sealed class Blocks : IDisposable
    {
        ~Blocks()
        {
            entered.Set();
            go.WaitOne(20000);
        }

        public void Dispose() { GC.SuppressFinalize(this); }
    }

    static readonly ManualResetEvent entered = new ManualResetEvent(false), go = new ManualResetEvent(false);

    /// finalizer WAY MILLISECONDS: what making and dropping an object costs, its finalizer and its collection included.
    public static int Cost(string[] args)
    {
        int ms = int.Parse(args[2]);
        Action make = Way(args[1], 0);
        for (int i = 0; i < 200000; i++) make();
        Settle();
        finalized = 0;
        int young = GC.CollectionCount(0);
        double paused = Newer.PauseNs();
        long bytes = Newer.AllocatedBytes();
        TimeSpan cpu = Process.GetCurrentProcess().TotalProcessorTime;
        long from = Stopwatch.GetTimestamp(), n = 0;
        while (Clock.Ns(from) < ms * 1e6)
        {
            for (int i = 0; i < 1000; i++) make();
            n += 1000;
        }
        bytes = Newer.AllocatedBytes() - bytes;
        // What is still to be finalized is a part of the price.
        Settle();
        double wall = Clock.Ns(from);
        cpu = Process.GetCurrentProcess().TotalProcessorTime - cpu;
        Tell.Value("op_ns", wall / n);
        Tell.Value("cpu_ns", cpu.TotalMilliseconds * 1e6 / n);
        Tell.Value("allocated_bytes", (double)bytes / n);
        Tell.Value("finalized_share", (double)finalized / n);
        if (paused >= 0) Tell.Value("gc_share", (Newer.PauseNs() - paused) / wall);
        Tell.Value("young_count", GC.CollectionCount(0) - young);
        About.Collector();
        return 0;
    }

    [MethodImpl(Apart)]
    static void Settle()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
    }

    static Action Way(string way, int bytes)
    {
        switch (way)
        {
            case "no_finalizer": return () => MakePlain(bytes);
            case "suppressed": return () => MakeFinalized(bytes).Dispose();
            case "finalized": return () => MakeFinalized(bytes);
            case "handle_apart": return () => MakeHandled(bytes);
            default: throw new ArgumentException("no such way: " + way);
        }
    }

    [MethodImpl(Apart)]
    static void MakePlain(int bytes)
    {
        Plain made = new Plain();
        if (bytes > 0) made.Buffer = new byte[bytes];
        made.Used = 1;
    }

    [MethodImpl(Apart)]
    static Finalized MakeFinalized(int bytes)
    {
        Finalized made = new Finalized();
        if (bytes > 0) made.Buffer = new byte[bytes];
        made.Used = 1;
        return made;
    }

    [MethodImpl(Apart)]
    static void MakeHandled(int bytes)
    {
        Handled made = new Handled();
        if (bytes > 0) made.Buffer = new byte[bytes];
        made.Handle.Used = 1;
    }

    /// survives WAYS COUNT: so many objects with a buffer of 10 KiB are dropped. What is left of each after one full collection, and after
    /// its finalizer and a second one.
    public static void Survives(string way, int count)
    {
        Action make = Way(way, 10 * Kib);
        for (int i = 0; i < 10; i++) make();
        Settle();
        Settle();
        finalized = 0;
        long before = GC.GetTotalMemory(false);
        for (int i = 0; i < count; i++) make();
        GC.Collect(2, GCCollectionMode.Forced, true);
        Tell.Value("surviving_bytes", Math.Max(0.0, GC.GetTotalMemory(false) - before) / count);
        GC.WaitForPendingFinalizers();
        GC.Collect(2, GCCollectionMode.Forced, true);
        Tell.Value("surviving_second_bytes", Math.Max(0.0, GC.GetTotalMemory(false) - before) / count);
        Tell.Value("finalized_count", finalized);
    }

    /// blocked WAYS COUNT: one object's finalizer waits for an event. Then so many others with a buffer of 1 KiB are dropped: how many of
    /// them are finalized, and what is left of each after two more full collections.
    public static void Blocked(string way, int count)
    {
        entered.Reset();
        go.Reset();
        for (int i = 0; i < 10; i++) MakeFinalized(Kib);
        Settle();
        Settle();
        if (way != "none_blocks") MakeBlocking(way == "one_blocks_suppressed");
        Settle(way == "one_blocks");
        finalized = 0;
        long before = GC.GetTotalMemory(false);
        for (int i = 0; i < count; i++) MakeFinalized(Kib);
        GC.Collect(2, GCCollectionMode.Forced, true);
        Tell.Value("ready_count", Newer.Memory("FinalizationPendingCount"));
        // A thousand finalizers take far less than a millisecond.
        long from = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref finalized) < count && Clock.Ns(from) < 500e6) Thread.Sleep(1);
        Tell.Value("finalized_share", (double)Volatile.Read(ref finalized) / count);
        GC.Collect(2, GCCollectionMode.Forced, true);
        GC.Collect(2, GCCollectionMode.Forced, true);
        Tell.Value("surviving_bytes", Math.Max(0.0, GC.GetTotalMemory(false) - before) / count);
        Tell.Value("ready_later_count", Newer.Memory("FinalizationPendingCount"));
        go.Set();
        GC.WaitForPendingFinalizers();
        Tell.Value("finalized_count", finalized);
    }

    /// Waits for the blocking finalizer to begin, or for all finalizers.
    static void Settle(bool blocked)
    {
        GC.Collect();
        if (blocked) entered.WaitOne(5000); else GC.WaitForPendingFinalizers();
        GC.Collect();
    }

    [MethodImpl(Apart)]
    static void MakeBlocking(bool disposed)
    {
        Blocks made = new Blocks();
        if (disposed) made.Dispose();
        GC.KeepAlive(made);
    }
}

/// Objects that may not move, and references that do not keep alive.
public static class Handles
{
    const MethodImplOptions Apart = MethodImplOptions.NoInlining;

    static byte[][] held;
    static GCHandle[] pins;
    static byte[] last;

    /// pinned WAYS COUNT GARBAGE: so many arrays of 1,000 bytes live, and so much garbage was made between two of them. What is lost in
    /// holes after a compacting collection, and after one more without the pins.
    public static void Pinned(string way, int count, int garbage)
    {
        Func<byte[]> make = () => new byte[1000];
        if (way == "pinned_heap") make = OnPinnedHeap();
        if (make == null)
        {
            Tell.Missing("this runtime has no heap for pinned objects (before .NET 5)");
            return;
        }
        held = new byte[count][];
        pins = new GCHandle[count];
        Compacted();
        double before = Compacted();
        Fill(make, way, garbage);
        Tell.Value("holes_bytes", Math.Max(0, Compacted() - before));
        foreach (GCHandle pin in pins) if (pin.IsAllocated) pin.Free();
        Tell.Value("released_holes_bytes", Math.Max(0, Compacted() - before));
        int there = 0;
        foreach (byte[] one in held) there += one[0];
        Tell.Value("arrays_count", there);
    }

    /// The bytes in holes after a full compacting collection.
    [MethodImpl(Apart)]
    static double Compacted()
    {
        GC.Collect(2, GCCollectionMode.Forced, true, true);
        return Newer.Memory("FragmentedBytes");
    }

    [MethodImpl(Apart)]
    static void Fill(Func<byte[]> make, string way, int garbage)
    {
        bool together = way == "pinned_first";
        for (int i = 0; i < held.Length; i++)
        {
            held[i] = make();
            held[i][0] = 1;
            if (way == "pinned" || together) pins[i] = GCHandle.Alloc(held[i], GCHandleType.Pinned);
            if (!together) Garbage(garbage);
        }
        // The same garbage, after all of them.
        if (together) Garbage(garbage * held.Length);
        last = null;
    }

    [MethodImpl(Apart)]
    static void Garbage(int bytes)
    {
        for (int left = bytes; left > 0; left -= 1000) last = new byte[1000];
    }

    static Func<byte[]> OnPinnedHeap()
    {
        foreach (MethodInfo method in typeof(GC).GetMethods())
        {
            if (method.Name != "AllocateArray" || method.GetParameters().Length != 2) continue;
            Func<int, bool, byte[]> allocate = (Func<int, bool, byte[]>)Delegate.CreateDelegate(typeof(Func<int, bool, byte[]>), method.MakeGenericMethod(typeof(byte)));
            return () => allocate(1000, true);
        }
        return null;
    }

    class Strong { public object Target; }

    sealed class StrongFinalized : Strong
    {
        ~StrongFinalized() { }
    }

    static object[] targets, references;
    static GCHandle[] handles;

    /// weak WAY COUNT: so many objects live, and each gets a reference of this kind. What one costs to make, and how long a full blocking
    /// collection takes beside them.
    public static int Weak(string[] args)
    {
        const int Rounds = 5;
        int count = int.Parse(args[2]);
        targets = new object[count];
        for (int i = 0; i < count; i++) targets[i] = new object();
        Action refer = Way(args[1]);
        List<double> made = new List<double>(), paused = new List<double>();
        for (int round = 0; round < Rounds; round++)
        {
            references = new object[count];
            handles = new GCHandle[count];
            Settle();
            long from = Stopwatch.GetTimestamp();
            refer();
            made.Add(Clock.Ns(from) / count);
            for (int i = 0; i < 3; i++)
            {
                from = Stopwatch.GetTimestamp();
                GC.Collect(2, GCCollectionMode.Forced, true, false);
                paused.Add(Clock.Ns(from));
            }
            foreach (GCHandle handle in handles) if (handle.IsAllocated) handle.Free();
        }
        // The first round compiles the code and fills the tables.
        made.RemoveAt(0);
        made.Sort();
        paused.Sort();
        Tell.Value("op_ns", made[made.Count / 2]);
        Tell.Value("pause_ns", paused[paused.Count / 2]);
        About.Collector();
        GC.KeepAlive(targets);
        GC.KeepAlive(references);
        return 0;
    }

    [MethodImpl(Apart)]
    static void Settle()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
    }

    static Action Way(string way)
    {
        switch (way)
        {
            case "strong_reference": return () => { for (int i = 0; i < targets.Length; i++) references[i] = new Strong { Target = targets[i] }; };
            case "with_finalizer":
                return () => { for (int i = 0; i < targets.Length; i++) references[i] = new StrongFinalized { Target = targets[i] }; };
            case "weak_handle":
                return () => { for (int i = 0; i < targets.Length; i++) handles[i] = GCHandle.Alloc(targets[i], GCHandleType.Weak); };
            case "weak_reference": return () => { for (int i = 0; i < targets.Length; i++) references[i] = new WeakReference(targets[i]); };
            case "weak_table":
                return () =>
                {
                    ConditionalWeakTable<object, object> table = new ConditionalWeakTable<object, object>();
                    for (int i = 0; i < targets.Length; i++) table.Add(targets[i], references[i] = new object());
                    handles[0] = GCHandle.Alloc(table);
                };
            default: throw new ArgumentException("no such way: " + way);
        }
    }
}
