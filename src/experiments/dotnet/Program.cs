// The programs that the labs on .NET start. C# 7, so that Mono's compiler takes it as well as a current SDK; what is newer is found by
// reflection. Each prints lines that the lab reads: "= name number", "~ remark", and where there are several rows "# row" and "! why none".
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime;
using System.Threading;

public static class Program
{
    public static int Main(string[] args)
    {
        string what = args.Length > 0 ? args[0] : "";
        switch (what)
        {
            case "about": return About.Run();
            case "edge": return Large.Edge();
            case "large": return Large.Run(args);
            case "compact": return Large.Compact(args);
            case "hold": return Box.Hold(args);
            case "box": return Box.Info();
            case "busy": return Box.Busy(args);
            case "idle": return Box.Idle(args);
            case "pool": return Pool.Run(args);
            case "context": return Context.Run(args);
            case "locks": return Locks.Run(args);
            case "cross": return Locks.Cross(args);
            case "await": return Awaits.Run(args);
            case "leak": return Each(args, way => Leak.Run(way, int.Parse(args[2])));
            case "closure": return Each(args, way => Leak.Closure(way, int.Parse(args[2])));
            case "rounds": return Leak.Rounds(args);
            case "finalizer": return Finalizers.Cost(args);
            case "survives": return Each(args, way => Finalizers.Survives(way, int.Parse(args[2])));
            case "blocked": return Each(args, way => Finalizers.Blocked(way, int.Parse(args[2])));
            case "pinned": return Each(args, way => Handles.Pinned(way, int.Parse(args[2]), int.Parse(args[3])));
            case "weak": return Handles.Weak(args);
            default:
                Console.Error.WriteLine("no such program: " + what);
                return 2;
        }
    }

    /// Several rows in one process: their names stand between commas.
    static int Each(string[] args, Action<string> run)
    {
        foreach (string way in args[1].Split(','))
        {
            Tell.Row(way);
            run(way);
            About.Collector();
        }
        return 0;
    }
}

/// What a program tells the lab.
public static class Tell
{
    public static void Value(string name, double value)
    {
        Console.WriteLine("= " + name + " " + value.ToString("R", CultureInfo.InvariantCulture));
    }

    /// Bytes for each of many; less than one for each is the program's own.
    public static void Each(string name, double bytes)
    {
        Value(name, bytes < 1 ? 0 : bytes);
    }

    /// What follows is about this row.
    public static void Row(string name)
    {
        Console.WriteLine("# " + name);
    }

    /// Why the row has no values.
    public static void Missing(string why)
    {
        Console.WriteLine("! " + why);
    }

    public static void Seen(string text)
    {
        Console.WriteLine("~ " + text);
    }
}

/// What the compiler's library may lack: found in the runtime, or null.
public static class Newer
{
    public static MethodInfo Method(Type type, string name, params Type[] parameters)
    {
        return type.GetMethod(name, BindingFlags.Public | BindingFlags.Static, null, parameters, null);
    }

    public static Type Find(string name)
    {
        foreach (Assembly assembly in AppDomain.CurrentDomain.GetAssemblies())
        {
            Type type = assembly.GetType(name);
            if (type != null) return type;
        }
        return typeof(object).Assembly.GetType(name);
    }

    static readonly MethodInfo pause = Method(typeof(GC), "GetTotalPauseDuration");

    /// All pauses since the process began, in ns; -1 where the runtime does not tell (before .NET 7).
    public static double PauseNs()
    {
        return pause == null ? -1 : ((TimeSpan)pause.Invoke(null, null)).Ticks * 100.0;
    }

    static readonly MethodInfo allocated = Method(typeof(GC), "GetAllocatedBytesForCurrentThread");
    static readonly MethodInfo allAllocated = Method(typeof(GC), "GetTotalAllocatedBytes", typeof(bool));

    public static long AllocatedBytes()
    {
        return allocated == null ? -1 : (long)allocated.Invoke(null, null);
    }

    public static long AllAllocatedBytes()
    {
        return allAllocated == null ? -1 : (long)allAllocated.Invoke(null, new object[] { true });
    }

    /// A property of the newest GCMemoryInfo, in bytes; -1 if there is none.
    public static double Memory(string name)
    {
        MethodInfo get = Method(typeof(GC), "GetGCMemoryInfo");
        if (get == null) return -1;
        object info = get.Invoke(null, null);
        PropertyInfo property = info.GetType().GetProperty(name);
        return property == null ? -1 : Convert.ToDouble(property.GetValue(info, null), CultureInfo.InvariantCulture);
    }

    /// A setting of the collector as it is in effect (from .NET 7 on), or null.
    public static object Setting(string name)
    {
        MethodInfo get = Method(typeof(GC), "GetConfigurationVariables");
        if (get == null) return null;
        object value;
        IReadOnlyDictionary<string, object> all = (IReadOnlyDictionary<string, object>)get.Invoke(null, null);
        return all.TryGetValue(name, out value) ? value : null;
    }

    public static int PoolThreads()
    {
        PropertyInfo count = typeof(ThreadPool).GetProperty("ThreadCount");
        return count == null ? -1 : (int)count.GetValue(null, null);
    }
}

/// Which runtime this is.
public static class About
{
    public static int Run()
    {
        Console.WriteLine("runtime " + RuntimeVersion());
        return 0;
    }

    public static string RuntimeVersion()
    {
        PropertyInfo name = typeof(System.Runtime.InteropServices.RuntimeInformation).GetProperty("FrameworkDescription");
        return (string)name.GetValue(null, null);
    }

    /// How the collector works in this process, as a remark.
    public static void Collector()
    {
        string kind = GCSettings.IsServerGC ? "server" : "workstation";
        string background = GCSettings.LatencyMode == GCLatencyMode.Batch ? "no background collection" : "background collection";
        Tell.Seen(RuntimeVersion() + ", " + kind + ", " + background);
    }
}

/// Times in ns, in buckets a sixteenth of an octave wide.
public sealed class Times
{
    readonly long[] buckets = new long[64 * 16];
    public long Count;
    public double Max;

    public void Add(double ns)
    {
        if (ns > Max) Max = ns;
        Count++;
        int at = ns < 1 ? 0 : (int)(Math.Log(ns, 2) * 16);
        buckets[Math.Min(at, buckets.Length - 1)]++;
    }

    /// The value that this share of the times does not exceed; -1 if fewer than ten lie beyond it.
    public double Percentile(double share)
    {
        long beyond = (long)(Count * (1 - share));
        if (beyond < 10) return -1;
        long seen = 0;
        for (int i = buckets.Length - 1; i >= 0; i--)
        {
            seen += buckets[i];
            if (seen >= beyond) return Math.Pow(2, (i + 0.5) / 16);
        }
        return -1;
    }
}

public static class Clock
{
    public static readonly double NsPerTick = 1e9 / Stopwatch.Frequency;

    public static double Ns(long from)
    {
        return (Stopwatch.GetTimestamp() - from) * NsPerTick;
    }

    /// Computes for about so many ns: so many turns of a loop that nobody can fold away.
    public static double TurnNs = Calibrate();

    static double Calibrate()
    {
        double least = double.MaxValue;
        for (int round = 0; round < 20; round++) least = Math.Min(least, Turn());
        return least;
    }

    /// What a turn takes now.
    public static double Turn()
    {
        long from = Stopwatch.GetTimestamp();
        Spin(20000);
        return Ns(from) / 20000;
    }

    public static ulong Sink;

    /// On values of its own: threads that hold a lock at the same time share nothing here.
    public static void Spin(int turns)
    {
        ulong x = 88172645463325252UL;
        for (int i = 0; i < turns; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; }
        // It never is, but the compiler does not know that.
        if (x == 0) Volatile.Write(ref Sink, x);
    }
}
