// Large objects: the size from which on they are large, and what allocating them does to the program.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Diagnostics.Tracing;
using System.Reflection;
using System.Runtime;
using System.Threading;

/// Every suspension of the world, from the runtime's own events (keyword GC): GCSuspendEEBegin (9) to GCRestartEEEnd (3); GCStart (1)
/// says which collection it was for. Source: the .NET documentation, "Garbage collection ETW events".
public sealed class Suspensions : EventListener
{
    public struct One
    {
        public double Ns;
        public int Generation;
        /// 0: blocking, 1: background, 2: blocking during a background collection.
        public int Type;
        /// 0: AllocSmall, 4: AllocLarge, ...
        public int Reason;
    }

    public readonly List<One> All = new List<One>();
    /// Collections that began, by generation and type: background ones suspend the world more than once.
    public int FullBackground, FullBlocking;
    /// Of every generation.
    public int Begun;
    /// Full collections that began because large objects had used up their budget (reason AllocLarge).
    public int FullForLarge;
    long begin;
    One now;
    static readonly PropertyInfo at = typeof(EventWrittenEventArgs).GetProperty("TimeStamp");

    protected override void OnEventSourceCreated(EventSource source)
    {
        if (source.Name == "Microsoft-Windows-DotNETRuntime") EnableEvents(source, EventLevel.Informational, (EventKeywords)1);
    }

    protected override void OnEventWritten(EventWrittenEventArgs e)
    {
        if (e.EventId != 9 && e.EventId != 1 && e.EventId != 3) return;
        long ticks = at == null ? DateTime.UtcNow.Ticks : ((DateTime)at.GetValue(e, null)).Ticks;
        lock (All)
        {
            if (e.EventId == 9) begin = ticks;
            if (e.EventId == 1)
            {
                Begun++;
                now.Generation = Convert.ToInt32(e.Payload[1]);
                now.Reason = Convert.ToInt32(e.Payload[2]);
                now.Type = Convert.ToInt32(e.Payload[3]);
                if (now.Generation == 2 && now.Type == 1) FullBackground++;
                if (now.Generation == 2 && now.Type != 1) FullBlocking++;
                if (now.Generation == 2 && now.Reason == 4) FullForLarge++;
            }
            if (e.EventId == 3 && begin != 0)
            {
                now.Ns = (ticks - begin) * 100.0;
                All.Add(now);
                begin = 0;
            }
        }
    }
}

public static class Large
{
    static object[] live;
    static byte[] last;

    /// The smallest byte array that the runtime puts into generation 2 at once, by halving: exact.
    public static int Edge()
    {
        int small = 1000, large = 4000000;
        if (GC.GetGeneration(new byte[large]) != 2)
        {
            Tell.Seen("an array of " + large + " bytes is not large here");
            return 0;
        }
        while (large - small > 1)
        {
            int middle = (small + large) / 2;
            if (GC.GetGeneration(new byte[middle]) == 2) large = middle; else small = middle;
        }
        Tell.Value("edge_bytes", large);
        About.Collector();
        return 0;
    }

    /// large SIZE LIVE_MIB MILLISECONDS WAY BYSTANDER
    public static int Run(string[] args)
    {
        int size = int.Parse(args[1]), liveMib = int.Parse(args[2]), ms = int.Parse(args[3]);
        string way = args[4];
        bool watched = args[5] == "1";
        // What lives: arrays of 40 bytes, 64 with their header.
        live = new object[liveMib * (1 << 20) / 64];
        for (int i = 0; i < live.Length; i++) live[i] = new byte[40];
        GC.Collect();
        GC.Collect();
        Action<int> use = Way(way);
        if (use == null)
        {
            Tell.Missing("this runtime has no " + way);
            return 0;
        }
        // Until the collector has run three times: memory that is touched for the first time costs the system's faults, which are not the subject.
        // A way that needs no collection is warm after a GiB, or after 2 s.
        long warm = Stopwatch.GetTimestamp();
        for (long made = 0, since = Collections(); Collections() - since < 3 && made < Enough && Clock.Ns(warm) < 2e9; made += size) use(size);
        using (Suspensions seen = new Suspensions())
        {
            Bystander bystander = watched ? new Bystander() : null;
            Thread.Sleep(5);
            lock (seen.All) { seen.All.Clear(); seen.FullBackground = seen.FullBlocking = seen.FullForLarge = seen.Begun = 0; }
            Times times = new Times();
            int young = GC.CollectionCount(0) - GC.CollectionCount(2), full = GC.CollectionCount(2);
            double paused = Newer.PauseNs();
            TimeSpan cpu = Process.GetCurrentProcess().TotalProcessorTime;
            if (bystander != null) bystander.Begin();
            long start = Stopwatch.GetTimestamp(), ops = 0;
            // So long, and until there were five collections; but no more than a GiB or ten times that long for their sake.
            for (long since = Collections();
                Clock.Ns(start) < ms * 1e6 || (Collections() - since < 5 && ops * size < Enough && Clock.Ns(start) < ms * 1e7);)
            {
                long from = Stopwatch.GetTimestamp();
                use(size);
                times.Add(Clock.Ns(from));
                ops++;
            }
            double wall = Clock.Ns(start);
            if (bystander != null) Tell.Value("bystander_max_ns", bystander.End());
            cpu = Process.GetCurrentProcess().TotalProcessorTime - cpu;
            double gib = (double)ops * size / (1 << 30);
            full = GC.CollectionCount(2) - full;
            young = GC.CollectionCount(0) - GC.CollectionCount(2) - young;
            Tell.Value("full_per_gib_count", full / gib);
            Tell.Value("young_per_gib_count", young / gib);
            Tell.Value("full_count", full);
            Tell.Value("op_ns", wall / ops);
            Tell.Value("op_max_ns", times.Max);
            double p99 = times.Percentile(0.99);
            if (p99 >= 0) Tell.Value("op_p99_ns", p99);
            Tell.Value("cpu_share", cpu.TotalMilliseconds * 1e6 / wall);
            if (paused >= 0) Tell.Value("gc_share", (Newer.PauseNs() - paused) / wall);
            // The events come over a thread of their own, a little late: until all collections have begun there, and a little longer, for their ends.
            if (full + young > 0)
            {
                long ended = Stopwatch.GetTimestamp();
                while (Volatile.Read(ref seen.Begun) < full + young && Clock.Ns(ended) < 200e6) Thread.Sleep(1);
                Thread.Sleep(15);
            }
            lock (seen.All)
            {
                List<double> all = new List<double>();
                double sum = 0;
                foreach (Suspensions.One one in seen.All) { all.Add(one.Ns); sum += one.Ns; }
                all.Sort();
                if (all.Count > 0)
                {
                    Tell.Value("pause_ns", all[all.Count / 2]);
                    Tell.Value("pause_max_ns", all[all.Count - 1]);
                }
                Tell.Value("pauses_count", all.Count);
                // A background collection stops the world more than once: this is all of them for one collection.
                if (full > 0 && young == 0) Tell.Value("stopped_ns", sum / full);
                int begun = seen.FullBackground + seen.FullBlocking;
                if (begun > 0) Tell.Value("for_large_share", (double)seen.FullForLarge / begun);
                Tell.Value("background_share", full == 0 ? 0 : (double)seen.FullBackground / Math.Max(1, seen.FullBackground + seen.FullBlocking));
            }
            About.Collector();
        }
        GC.KeepAlive(live);
        return 0;
    }

    const long Enough = 1L << 30;

    /// Collections so far, of every generation.
    static long Collections() { return GC.CollectionCount(0); }

    static Action<int> Way(string way)
    {
        switch (way)
        {
            case "new":
                return size => Touch(new byte[size]);
            case "reuse":
                byte[] kept = new byte[1 << 20];
                return size => { Array.Clear(kept, 0, size); Touch(kept); };
            case "nothing":
                byte[] only = new byte[1 << 20];
                return size => Touch(only);
            case "pieces":
                return size => { for (int left = size; left > 0; left -= 80000) Touch(new byte[Math.Min(left, 80000)]); };
            case "pool":
                if (Newer.Find("System.Buffers.ArrayPool`1") == null) return null;
                Type pool = Newer.Find("System.Buffers.ArrayPool`1").MakeGenericType(typeof(byte));
                object shared = pool.GetProperty("Shared").GetValue(null, null);
                Func<int, byte[]> rent = (Func<int, byte[]>)Delegate.CreateDelegate(typeof(Func<int, byte[]>), shared, pool.GetMethod("Rent"));
                Action<byte[], bool> give = (Action<byte[], bool>)Delegate.CreateDelegate(typeof(Action<byte[], bool>), shared, pool.GetMethod("Return"));
                return size => { byte[] rented = rent(size); Touch(rented); give(rented, false); };
            case "uninitialized":
                MethodInfo make = null;
                foreach (MethodInfo method in typeof(GC).GetMethods()) if (method.Name == "AllocateUninitializedArray") make = method;
                if (make == null) return null;
                Func<int, bool, byte[]> raw = (Func<int, bool, byte[]>)Delegate.CreateDelegate(typeof(Func<int, bool, byte[]>), make.MakeGenericMethod(typeof(byte)));
                return size => Touch(raw(size, false));
            default:
                throw new ArgumentException("no such way: " + way);
        }
    }

    /// compact HOW MIB: so much in large arrays, every second of them dropped; then one full collection, with the large objects moved
    /// together or not. How long it takes, and how much of the heap is holes afterwards.
    public static int Compact(string[] args)
    {
        bool moves = args[1] == "once";
        int count = int.Parse(args[2]) * (1 << 20) / 100000;
        byte[][] arrays = new byte[count][];
        for (int i = 0; i < count; i++)
        {
            arrays[i] = new byte[100000];
            for (int j = 0; j < 100000; j += 4096) arrays[i][j] = 1;
        }
        GC.Collect();
        for (int i = 0; i < count; i += 2) arrays[i] = null;
        // The holes are made by a collection of its own, so that both rows begin with them.
        GC.Collect(2, GCCollectionMode.Forced, true, false);
        if (moves) GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
        long from = Stopwatch.GetTimestamp();
        GC.Collect(2, GCCollectionMode.Forced, true, moves);
        Tell.Value("op_ns", Clock.Ns(from));
        Tell.Value("live_bytes", GC.GetTotalMemory(false));
        Tell.Value("holes_bytes", Newer.Memory("FragmentedBytes"));
        About.Collector();
        GC.KeepAlive(arrays);
        return 0;
    }

    static void Touch(byte[] array)
    {
        array[0] = 1;
        array[array.Length / 2] = 1;
        last = array;
    }
}

/// A thread that looks at the clock all the time and allocates nothing.
public sealed class Bystander
{
    int state;
    double longest;
    readonly Thread thread;

    public Bystander()
    {
        thread = new Thread(Watch) { IsBackground = true };
        thread.Start();
    }

    public void Begin() { Volatile.Write(ref state, 1); }

    public double End()
    {
        Volatile.Write(ref state, 2);
        thread.Join();
        return longest;
    }

    void Watch()
    {
        while (Volatile.Read(ref state) == 0) Thread.Sleep(1);
        long before = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref state) == 1)
        {
            long now = Stopwatch.GetTimestamp();
            double gap = (now - before) * Clock.NsPerTick;
            if (gap > longest) longest = gap;
            before = now;
        }
    }
}
