// What the runtime makes of a container's limits.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime;
using System.Runtime.InteropServices;
using System.Threading;

public static class Box
{
    static void Common()
    {
        Tell.Value("cpus_count", Environment.ProcessorCount);
        Tell.Value("server_count", GCSettings.IsServerGC ? 1 : 0);
        GC.Collect();
        Tell.Value("available_bytes", Newer.Memory("TotalAvailableMemoryBytes"));
        Tell.Value("high_load_bytes", Newer.Memory("HighMemoryLoadThresholdBytes"));
        object heaps = Newer.Setting("HeapCount");
        if (heaps != null) Tell.Value("heaps_count", Convert.ToDouble(heaps));
        About.Collector();
    }

    public static int Info()
    {
        Common();
        return 0;
    }

    /// hold MIB BESIDE_MIB: keeps more and more until so much is held or the runtime refuses; beside it lies native memory.
    public static int Hold(string[] args)
    {
        int most = int.Parse(args[1]), beside = int.Parse(args[2]);
        Common();
        if (beside > 0)
        {
            IntPtr native = Marshal.AllocHGlobal(beside << 20);
            for (int i = 0; i < beside << 20; i += 4096) Marshal.WriteByte(native, i, 1);
        }
        Console.Out.Flush();
        List<byte[]> held = new List<byte[]>();
        int refused = 0;
        try
        {
            while (held.Count < most)
            {
                byte[] more = new byte[1 << 20];
                for (int i = 0; i < more.Length; i += 4096) more[i] = 1;
                held.Add(more);
            }
        }
        catch (OutOfMemoryException)
        {
            refused = 1;
        }
        int count = held.Count;
        held = null;
        Tell.Value("held_bytes", (double)count * (1 << 20));
        Tell.Value("exceptions_count", refused);
        return 0;
    }

    /// busy THREADS LIVE_MIB MILLISECONDS: threads that allocate all the time; the pauses that they suffer. So long, and until there were three
    /// young collections, but not ten times as long.
    public static int Busy(string[] args)
    {
        int threads = int.Parse(args[1]), liveMib = int.Parse(args[2]), ms = int.Parse(args[3]);
        object[] live = new object[liveMib * (1 << 20) / 64];
        for (int i = 0; i < live.Length; i++) live[i] = new byte[40];
        // Twice: what lives is then in generation 2, and no young collection moves it there while the clock runs.
        GC.Collect();
        GC.Collect();
        using (Suspensions seen = new Suspensions())
        {
            Thread.Sleep(5);
            lock (seen.All) seen.All.Clear();
            int young = GC.CollectionCount(0);
            bool over = false;
            long[] done = new long[threads * 16];
            double[] longest = new double[threads * 16];
            Thread[] all = new Thread[threads];
            long start = Stopwatch.GetTimestamp();
            for (int t = 0; t < threads; t++)
            {
                int mine = t * 16;
                all[t] = new Thread(() =>
                {
                    object[] kept = new object[1000];
                    long n = 0;
                    while (!Volatile.Read(ref over))
                    {
                        long from = Stopwatch.GetTimestamp();
                        for (int i = 0; i < 100; i++) kept[n % 1000] = new byte[100];
                        n++;
                        double took = Clock.Ns(from);
                        if (took > longest[mine]) longest[mine] = took;
                    }
                    done[mine] = n;
                });
                all[t].Start();
            }
            Thread.Sleep(ms);
            while (GC.CollectionCount(0) - young < 3 && Clock.Ns(start) < ms * 1e7) Thread.Sleep(5);
            Volatile.Write(ref over, true);
            foreach (Thread thread in all) thread.Join();
            double wall = Clock.Ns(start), sum = 0, worst = 0;
            foreach (long n in done) sum += n * 100.0;
            foreach (double ns in longest) worst = Math.Max(worst, ns);
            Tell.Value("ops_per_s", sum / wall * 1e9);
            Tell.Value("op_max_ns", worst);
            // The events come over a thread of their own, a little late.
            Thread.Sleep(60);
            lock (seen.All)
            {
                List<double> pauses = new List<double>();
                foreach (Suspensions.One one in seen.All) pauses.Add(one.Ns);
                pauses.Sort();
                if (pauses.Count > 0)
                {
                    Tell.Value("pause_ns", pauses[pauses.Count / 2]);
                    Tell.Value("pause_max_ns", pauses[pauses.Count - 1]);
                }
                Tell.Value("pauses_count", pauses.Count);
            }
        }
        Common();
        GC.KeepAlive(live);
        return 0;
    }

    /// idle MIB: what is resident after so much garbage was made and dropped, at once, after a wait, and after a compacting collection.
    public static int Idle(string[] args)
    {
        int mib = int.Parse(args[1]);
        double before = Resident();
        List<byte[]> held = new List<byte[]>();
        for (int i = 0; i < mib * 16; i++)
        {
            byte[] more = new byte[1 << 16];
            for (int j = 0; j < more.Length; j += 4096) more[j] = 1;
            held.Add(more);
        }
        double full = Resident() - before;
        held = null;
        GC.Collect();
        Tell.Value("after_share", (Resident() - before) / full);
        Thread.Sleep(500);
        Tell.Value("idle_share", (Resident() - before) / full);
        GC.Collect(2, GCCollectionMode.Forced, true, true);
        GC.WaitForPendingFinalizers();
        GC.Collect(2, GCCollectionMode.Forced, true, true);
        Tell.Value("compacted_share", (Resident() - before) / full);
        var aggressive = typeof(GCCollectionMode).GetField("Aggressive");
        // Aggressive is newer (.NET 7): it also gives memory back.
        if (aggressive != null)
        {
            GC.Collect(2, (GCCollectionMode)aggressive.GetValue(null), true, true);
            Tell.Value("trimmed_share", (Resident() - before) / full);
        }
        About.Collector();
        return 0;
    }

    static double Resident()
    {
        return Process.GetCurrentProcess().WorkingSet64;
    }
}
