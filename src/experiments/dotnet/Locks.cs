// Locks: how often all threads together get through.
using System;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Threading;

public static class Locks
{
    /// What a thread does once, given whether it only reads. `turns` is the hold.
    delegate void Once(bool reads, int turns);

    /// In every dictionary.
    const int Keys = 100;

    static long value;
    static SpinLock spin = new SpinLock(false);
    static readonly SemaphoreSlim semaphore = new SemaphoreSlim(1, 1);
    static readonly ReaderWriterLockSlim slim = new ReaderWriterLockSlim();
    static readonly System.Collections.Concurrent.ConcurrentDictionary<int, long> map = new System.Collections.Concurrent.ConcurrentDictionary<int, long>();

    static System.Collections.Generic.IReadOnlyDictionary<int, long> swapped;

    delegate bool TryRead(out long value);

    /// `dictionary.SetItem(key, value)` of this type, as one call through a delegate.
    static Func<object, int, long, object> Setter(Type type)
    {
        return (Func<object, int, long, object>)typeof(Locks).GetMethod("SetterOf", BindingFlags.NonPublic | BindingFlags.Static)
            .MakeGenericMethod(type).Invoke(null, null);
    }

    static Func<object, int, long, object> SetterOf<T>() where T : class
    {
        var set = (Func<T, int, long, T>)Delegate.CreateDelegate(typeof(Func<T, int, long, T>), typeof(T).GetMethod("SetItem"));
        return (map, key, value) => set((T)map, key, value);
    }

    static void Work(bool reads, int turns)
    {
        if (turns > 0) Clock.Spin(turns);
        if (reads) Volatile.Read(ref value); else value++;
    }

    static Once Find(string name)
    {
        switch (name)
        {
            case "empty": return (reads, turns) => Work(reads, turns);
            case "monitor":
                object thin = new object();
                return (reads, turns) => { lock (thin) Work(reads, turns); };
            case "monitor_inflated":
                // Who has waited for a lock once has moved it out of the object's header, into a record of its own. A collection takes the
                // record back if nobody uses it.
                object fat = new object();
                lock (fat) Monitor.Wait(fat, 1);
                return (reads, turns) => { lock (fat) Work(reads, turns); };
            case "spin_lock":
                return (reads, turns) =>
                {
                    bool taken = false;
                    spin.Enter(ref taken);
                    Work(reads, turns);
                    spin.Exit(false);
                };
            case "semaphore_slim": return (reads, turns) => { semaphore.Wait(); Work(reads, turns); semaphore.Release(); };
            case "semaphore_slim_async":
                return (reads, turns) => { semaphore.WaitAsync().GetAwaiter().GetResult(); Work(reads, turns); semaphore.Release(); };
            case "rw_lock_slim":
                return (reads, turns) =>
                {
                    if (reads)
                    {
                        slim.EnterReadLock();
                        Work(true, turns);
                        slim.ExitReadLock();
                    }
                    else
                    {
                        slim.EnterWriteLock();
                        Work(false, turns);
                        slim.ExitWriteLock();
                    }
                };
            case "interlocked": return (reads, turns) => { if (turns > 0) Clock.Spin(turns); if (reads) Volatile.Read(ref value); else Interlocked.Increment(ref value); };
            case "concurrent_dictionary":
                for (int i = 0; i < Keys; i++) map[i] = i;
                return (reads, turns) => { long seen; if (reads) map.TryGetValue(1, out seen); else map[1] = turns; };
            case "dictionary_locked":
                var plain = new System.Collections.Generic.Dictionary<int, long>();
                for (int i = 0; i < Keys; i++) plain[i] = i;
                // As `monitor_inflated`.
                lock (plain) Monitor.Wait(plain, 1);
                return (reads, turns) => { long seen; lock (plain) { if (reads) plain.TryGetValue(1, out seen); else plain[1] = turns; } };
            case "lock":
#if NET9_0_OR_GREATER
                Lock it = new Lock();
                return (reads, turns) => { lock (it) Work(reads, turns); };
#else
                return null;
#endif
            case "immutable_dictionary":
                // The class is not in every compiler's library. A reader goes through an interface that is; a writer through a delegate.
                Type immutable = Type.GetType("System.Collections.Immutable.ImmutableDictionary`2, System.Collections.Immutable").MakeGenericType(typeof(int), typeof(long));
                object none = immutable.GetField("Empty").GetValue(null);
                Func<object, int, long, object> set = Setter(immutable);
                for (int i = 0; i < Keys; i++) none = set(none, i, i);
                swapped = (System.Collections.Generic.IReadOnlyDictionary<int, long>)none;
                return (reads, turns) =>
                {
                    long seen;
                    if (reads) { Volatile.Read(ref swapped).TryGetValue(1, out seen); return; }
                    while (true)
                    {
                        var old = Volatile.Read(ref swapped);
                        var next = (System.Collections.Generic.IReadOnlyDictionary<int, long>)set(old, 1, turns);
                        if (Interlocked.CompareExchange(ref swapped, next, old) == old) return;
                    }
                };
            case "channel":
                Type channel = Type.GetType("System.Threading.Channels.Channel, System.Threading.Channels");
                object made = null;
                foreach (MethodInfo method in channel.GetMethods())
                    if (method.Name == "CreateUnbounded" && method.GetParameters().Length == 0) made = method.MakeGenericMethod(typeof(long)).Invoke(null, null);
                object writer = made.GetType().GetProperty("Writer").GetValue(made, null), reader = made.GetType().GetProperty("Reader").GetValue(made, null);
                Func<long, bool> write = (Func<long, bool>)Delegate.CreateDelegate(typeof(Func<long, bool>), writer, writer.GetType().GetMethod("TryWrite"));
                TryRead read = (TryRead)Delegate.CreateDelegate(typeof(TryRead), reader, reader.GetType().GetMethod("TryRead"));
                return (reads, turns) => { long seen; write(turns); read(out seen); };
            default: throw new ArgumentException("no such lock: " + name);
        }
    }

    /// cross THREADS READS_PERCENT MILLISECONDS: the hold from which on ReaderWriterLockSlim lets through more than lock, by halving on a
    /// logarithmic scale; each comparison in turns, so that both meet the same state of the machine.
    public static int Cross(string[] args)
    {
        int threads = int.Parse(args[1]), percent = int.Parse(args[2]), ms = int.Parse(args[3]);
        double low = 20, high = 100000;
        if (!Wins(high, threads, percent, ms))
        {
            Tell.Missing("up to a hold of 100 us, ReaderWriterLockSlim does not let through more than lock");
            return 0;
        }
        // Ahead at the shortest hold already: the crossover is there or below.
        if (Wins(low, threads, percent, ms)) high = low;
        while (high > low * 1.5)
        {
            double middle = Math.Sqrt(low * high);
            if (Wins(middle, threads, percent, ms)) high = middle; else low = middle;
        }
        Tell.Value("crossover_ns", high);
        About.Collector();
        return 0;
    }

    /// Three turns each, and what is ahead in most of them.
    static bool Wins(double holdNs, int threads, int percent, int ms)
    {
        int wins = 0;
        for (int turn = 0; turn < 3; turn++)
            if (Rate("rw_lock_slim", threads, holdNs, percent, ms) > Rate("monitor_inflated", threads, holdNs, percent, ms)) wins++;
        return wins >= 2;
    }

    static double Rate(string name, int threads, double holdNs, int percent, int ms)
    {
        return Count(Find(name), threads, holdNs, percent, ms, 5).Rate;
    }

    /// locks ROWS MILLISECONDS WARM_UP_MS: the rows in their order, separated by commas, each as NAME:THREADS:HOLD_NS:READS_PERCENT.
    public static int Run(string[] args)
    {
        int ms = int.Parse(args[2]), warm = int.Parse(args[3]);
        bool first = true;
        foreach (string row in args[1].Split(','))
        {
            string[] parts = row.Split(':');
            int threads = int.Parse(parts[1]), percent = int.Parse(parts[3]);
            double holdNs = double.Parse(parts[2], CultureInfo.InvariantCulture);
            // Whatever runs first in a process takes its atomic steps in about half of the time (seen with every lock, and not explained): so
            // what runs first is not told.
            if (first) Count(Find("monitor"), threads, holdNs, percent, ms, warm);
            first = false;
            Tell.Row(parts[0]);
            One(parts[0], threads, holdNs, percent, ms, warm);
        }
        return 0;
    }

    static void One(string name, int threads, double holdNs, int percent, int ms, int warm)
    {
        Once once = Find(name);
        if (once == null)
        {
            Tell.Missing("System.Threading.Lock came with .NET 9, and only that SDK's compiler knows it");
            return;
        }
        Counted it = Count(once, threads, holdNs, percent, ms, warm);
        if (it.Sum < 1)
        {
            Tell.Missing("nothing got through in the time");
            return;
        }
        Tell.Value("ops_per_s", it.Rate);
        Tell.Value("lane_op_ns", 1e9 * threads / it.Rate);
        Tell.Value("min_max_share", it.Fair);
        Tell.Value("cpu_per_op_ns", it.CpuNs / it.Sum);
        if (holdNs > 0) Tell.Value("hold_ns", it.HoldNs);
        About.Collector();
    }

    struct Counted
    {
        public double Sum, Rate, Fair, CpuNs, HoldNs;
    }

    static Counted Count(Once once, int threads, double holdNs, int percent, int ms, int warm)
    {
        int turns = holdNs <= 0 ? 0 : Math.Max(1, (int)(holdNs / Clock.TurnNs));
        int stage = 0;
        long[] done = new long[threads * 16];
        Thread[] all = new Thread[threads];
        for (int t = 0; t < threads; t++)
        {
            int mine = t;
            all[t] = new Thread(() =>
            {
                long n = 0;
                uint dice = (uint)(mine * 7919 + 1);
                while (Volatile.Read(ref stage) < 2)
                {
                    for (int i = 0; i < 16; i++)
                    {
                        dice = dice * 1664525 + 1013904223;
                        once((int)((dice >> 16) % 100) < percent, turns);
                    }
                    n += 16;
                    Volatile.Write(ref done[mine * 16], n);
                }
            }) { IsBackground = true };
        }
        foreach (Thread thread in all) thread.Start();
        Thread.Sleep(warm);
        long[] from = Counts(done, threads);
        TimeSpan cpu = Process.GetCurrentProcess().TotalProcessorTime;
        long start = Stopwatch.GetTimestamp();
        Thread.Sleep(ms);
        double wall = Clock.Ns(start);
        long[] to = Counts(done, threads);
        cpu = Process.GetCurrentProcess().TotalProcessorTime - cpu;
        Volatile.Write(ref stage, 2);
        foreach (Thread thread in all) thread.Join();
        double sum = 0, least = double.MaxValue, most = 0;
        for (int t = 0; t < threads; t++)
        {
            double n = to[t] - from[t];
            sum += n;
            least = Math.Min(least, n);
            most = Math.Max(most, n);
        }
        return new Counted
        {
            Sum = sum,
            Rate = sum / wall * 1e9,
            Fair = most > 0 ? least / most : 0,
            CpuNs = cpu.TotalMilliseconds * 1e6,
            // Measured now, on this thread: the processor's speed may be another than when the turns were chosen.
            HoldNs = turns == 0 ? 0 : turns * Clock.Turn()
        };
    }

    static long[] Counts(long[] done, int threads)
    {
        long[] counts = new long[threads];
        for (int t = 0; t < threads; t++) counts[t] = Volatile.Read(ref done[t * 16]);
        return counts;
    }
}
