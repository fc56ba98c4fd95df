// What an await costs: time and bytes, ready and not ready.
using System;
using System.Diagnostics;
using System.Reflection;
using System.Threading;
using System.Threading.Tasks;

public static class Awaits
{
    /// await HOW MILLISECONDS
    public static int Run(string[] args)
    {
        string how = args[1];
        int ms = int.Parse(args[2]);
        if (how == "at_once") return AtOnce(ms);
        Func<int, long> run = Find(how);
        // The lab has everything compiled for good at the first call; this fills caches and the heap's first budget.
        long warm = Stopwatch.GetTimestamp();
        while (Clock.Ns(warm) < 50e6) run(1000);
        GC.Collect();
        long bytes = Newer.AllAllocatedBytes(), n = 0, from = Stopwatch.GetTimestamp();
        while (Clock.Ns(from) < ms * 1e6) n += run(1000);
        double wall = Clock.Ns(from);
        Tell.Value("op_ns", wall / n);
        long after = Newer.AllAllocatedBytes();
        if (bytes >= 0) Tell.Each("allocated_bytes", (double)(after - bytes) / n);
        return 0;
    }

    static Func<int, long> Find(string how)
    {
        switch (how)
        {
            case "call": return n => { long sum = 0; for (int i = 0; i < n; i++) sum += Plain(i); sink = sum; return n; };
            case "task_ready": return n => { Loop(n).Wait(); return n; };
            case "task_cached": return n => { LoopCached(n).Wait(); return n; };
            case "value_task_ready": return n => { LoopValue(n).Wait(); return n; };
            // So many that the thread that waits for all of them counts for nothing.
            case "yield": return n => { LoopYield(n * 10).Wait(); return n * 10; };
            case "value_task_yield": return n => { LoopValueDeep(n * 10).Wait(); return n * 10; };
            case "task_yield": return n => { LoopDeep(n * 10).Wait(); return n * 10; };
            default: throw new ArgumentException("no such way: " + how);
        }
    }

    static long sink;

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
    static int Plain(int i) { return i ^ 1000; }

    // An async method that never suspends; its result is too large for the runtime's cache of small results, so each call makes a Task.
    static async Task<int> Ready(int i) { if (i < 0) await Task.Yield(); return i + 1000; }

    // The same with a result that is cached (true and false are).
    static async Task<bool> Cached(int i) { if (i < 0) await Task.Yield(); return i > 3; }

    static async ValueTask<int> Value(int i) { if (i < 0) await Task.Yield(); return i + 1000; }

    // One that suspends: its state machine moves to the heap, and the pool resumes it.
    static async Task<int> Suspends(int i) { await Task.Yield(); return i + 1000; }

    static async ValueTask<int> ValueSuspends(int i) { await Task.Yield(); return i + 1000; }

    static async Task LoopValueDeep(int n) { long sum = 0; for (int i = 0; i < n; i++) sum += await ValueSuspends(i); sink = sum; }
    static async Task Loop(int n) { long sum = 0; for (int i = 0; i < n; i++) sum += await Ready(i); sink = sum; }
    static async Task LoopCached(int n) { long sum = 0; for (int i = 0; i < n; i++) sum += await Cached(i) ? 1 : 0; sink = sum; }
    static async Task LoopValue(int n) { long sum = 0; for (int i = 0; i < n; i++) sum += await Value(i); sink = sum; }
    static async Task LoopYield(int n) { for (int i = 0; i < n; i++) await Task.Yield(); }
    static async Task LoopDeep(int n) { long sum = 0; for (int i = 0; i < n; i++) sum += await Suspends(i); sink = sum; }

    /// 10,000 that wait at once: bytes for each, and how long it takes until all are done after the word.
    static int AtOnce(int ms)
    {
        const int Many = 10000;
        for (int round = 0; round < 3; round++)
        {
            GC.Collect();
            TaskCompletionSource<int> word = new TaskCompletionSource<int>();
            Task[] all = new Task[Many];
            long arrays = GC.GetTotalMemory(true);
            for (int i = 0; i < Many; i++) all[i] = Waits(word.Task, i);
            // What lives: the methods that wait, and their places in the list of those who wait for the word.
            double bytes = GC.GetTotalMemory(true) - arrays;
            long from = Stopwatch.GetTimestamp();
            word.SetResult(1);
            Task.WaitAll(all);
            if (round == 2)
            {
                Tell.Value("allocated_bytes", bytes / Many);
                Tell.Value("op_ns", Clock.Ns(from) / Many);
            }
        }
        return 0;
    }

    static async Task<int> Waits(Task<int> word, int i) { return i + await word; }
}
