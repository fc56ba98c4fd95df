// The thread pool when its work blocks, and the deadlock of a single-threaded context.
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

public static class Pool
{
    /// pool CLIENTS HOW UNIT_MS MILLISECONDS MIN_THREADS
    public static int Run(string[] args)
    {
        int clients = int.Parse(args[1]), unit = int.Parse(args[3]), ms = int.Parse(args[4]), min = int.Parse(args[5]);
        string how = args[2];
        // Before the pool is first used: it reads this once.
        if (how == "block_not_told")
        {
            AppContext.SetSwitch("System.Threading.ThreadPool.Blocking.CooperativeBlocking", false);
            how = "block";
        }
        int workers, io;
        ThreadPool.GetMinThreads(out workers, out io);
        if (min > 0) ThreadPool.SetMinThreads(min, io);
        // One less than the threads that the pool makes at once, so that one of them stays free; with one CPU there is none to spare.
        SemaphoreSlim gate = new SemaphoreSlim(Math.Max(1, Environment.ProcessorCount - 1));
        bool over = false;
        int done = 0;
        Lateness timer = new Lateness(50);
        Arrivals socket = new Arrivals(50);
        Stopwatch clock = Stopwatch.StartNew();
        for (int c = 0; c < clients; c++) Task.Run(() => Client(how, unit, gate, () => Volatile.Read(ref over), () => Interlocked.Increment(ref done)));
        StringBuilder curve = new StringBuilder("answers each half second:"), threads = new StringBuilder("threads:");
        int before = 0, most = 0;
        double recovered = -1, full = 500.0 / unit * clients;
        // On a thread of its own: the pool is what is measured.
        for (int half = 1; half <= ms / 500; half++)
        {
            int left = half * 500 - (int)clock.ElapsedMilliseconds;
            if (left > 0) Thread.Sleep(left);
            int now = Volatile.Read(ref done), count = Newer.PoolThreads();
            curve.Append(' ').Append(now - before);
            threads.Append(' ').Append(count);
            // Starting a process makes everything late in any case.
            if (half == 2) { timer.Begin(); socket.Begin(); }
            if (recovered < 0 && now - before >= 0.9 * full) recovered = half * 0.5;
            before = now;
            most = Math.Max(most, count);
        }
        double wall = clock.Elapsed.TotalSeconds;
        double cpu = Process.GetCurrentProcess().TotalProcessorTime.TotalSeconds;
        Volatile.Write(ref over, true);
        Tell.Value("answers_per_s", before / wall);
        Tell.Value("first_second_count", First(curve.ToString()));
        Tell.Value("done_share", before / wall / (1000.0 / unit * clients));
        Tell.Value("threads_count", most);
        // From the start of the process on.
        Tell.Value("cpu_share", cpu / wall);
        if (recovered >= 0) Tell.Value("recovered_ns", recovered * 1e9);
        Tell.Value("timer_late_max_ns", timer.Longest());
        Tell.Value("io_late_max_ns", socket.Longest());
        Tell.Value("resident_bytes", Process.GetCurrentProcess().WorkingSet64);
        Tell.Value("cpus_count", Environment.ProcessorCount);
        Tell.Value("min_threads_count", min > 0 ? min : workers);
        Tell.Seen(curve.ToString());
        Tell.Seen(threads.ToString());
        About.Collector();
        Console.Out.Flush();
        // Some of the pool's threads may block for a while: nobody waits for them.
        Environment.Exit(0);
        return 0;
    }

    static double First(string curve)
    {
        string[] numbers = curve.Substring(curve.IndexOf(':') + 1).Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries);
        double sum = 0;
        for (int i = 0; i < numbers.Length && i < 2; i++) sum += double.Parse(numbers[i]);
        return sum;
    }

    static async Task Client(string how, int unit, SemaphoreSlim gate, Func<bool> over, Action done)
    {
        while (!over())
        {
            switch (how)
            {
                case "await":
                    await Task.Run(async () => await Task.Delay(unit));
                    break;
                case "block":
                    // Task.Wait: the pool knows that this thread blocks.
                    await Task.Run(() => Task.Delay(unit).Wait());
                    break;
                case "sleep":
                    // The pool does not know it: it must find out by itself.
                    await Task.Run(() => Thread.Sleep(unit));
                    break;
                case "sleep_fair":
                    // The same, but into the queue that all threads share: by default a pool thread puts what it starts into a queue of its own.
                    await Task.Factory.StartNew(() => Thread.Sleep(unit), CancellationToken.None, TaskCreationOptions.PreferFairness, TaskScheduler.Default);
                    break;
                case "result":
                    // Sync over async: blocks on work that needs a thread of the same pool.
                    await Task.Run(() => Task.Run(async () => { await Task.Delay(unit); return 1; }).Result);
                    break;
                case "long_running":
                    // A thread of its own for each call.
                    await Task.Factory.StartNew(() => Task.Delay(unit).Wait(), TaskCreationOptions.LongRunning);
                    break;
                case "gated":
                    // A semaphore in front: fewer block at once than the pool has threads.
                    await gate.WaitAsync();
                    try { await Task.Run(() => Thread.Sleep(unit)); } finally { gate.Release(); }
                    break;
                default:
                    throw new ArgumentException("no such way: " + how);
            }
            done();
        }
    }
}

/// A timer that should fire every so many ms on the pool: how late it ever was since the word.
public sealed class Lateness
{
    readonly Timer timer;
    readonly Stopwatch clock = Stopwatch.StartNew();
    readonly int period;
    long last;
    double longest;

    public Lateness(int period)
    {
        this.period = period;
        timer = new Timer(Fire, null, period, period);
    }

    /// From now on it counts.
    public void Begin()
    {
        lock (timer)
        {
            longest = 0;
            Interlocked.Exchange(ref last, clock.ElapsedTicks);
        }
    }

    void Fire(object state)
    {
        lock (timer)
        {
            long now = clock.ElapsedTicks;
            double late = (now - Interlocked.Exchange(ref last, now)) * Clock.NsPerTick - period * 1e6;
            if (late > longest) longest = late;
        }
    }

    /// The time since it fired last counts too.
    public double Longest()
    {
        double open = (clock.ElapsedTicks - Interlocked.Read(ref last)) * Clock.NsPerTick - period * 1e6;
        lock (timer) return Math.Max(0, Math.Max(longest, open));
    }
}

/// A thread sends a byte over a local socket every so many ms, and an async method reads it: how late that ever was since the word.
public sealed class Arrivals
{
    readonly Stopwatch clock = Stopwatch.StartNew();
    readonly ConcurrentQueue<long> sent = new ConcurrentQueue<long>();
    double longest;
    long begun;

    public Arrivals(int period)
    {
        TcpListener listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        TcpClient sender = new TcpClient();
        sender.Connect(IPAddress.Loopback, ((IPEndPoint)listener.LocalEndpoint).Port);
        TcpClient receiver = listener.AcceptTcpClient();
        listener.Stop();
        Read(receiver.GetStream());
        new Thread(() =>
        {
            NetworkStream to = sender.GetStream();
            while (true)
            {
                Thread.Sleep(period);
                sent.Enqueue(clock.ElapsedTicks);
                to.WriteByte(1);
            }
        }) { IsBackground = true }.Start();
    }

    /// From now on it counts.
    public void Begin()
    {
        lock (sent)
        {
            longest = 0;
            begun = clock.ElapsedTicks;
        }
    }

    async void Read(NetworkStream from)
    {
        byte[] one = new byte[1];
        while (await from.ReadAsync(one, 0, 1) == 1)
        {
            long at;
            if (!sent.TryDequeue(out at)) return;
            lock (sent)
            {
                double late = (clock.ElapsedTicks - Math.Max(at, begun)) * Clock.NsPerTick;
                if (late > longest) longest = late;
            }
        }
    }

    /// What was sent and not read yet counts too.
    public double Longest()
    {
        long at;
        lock (sent) return sent.TryPeek(out at) ? Math.Max(longest, (clock.ElapsedTicks - Math.Max(at, begun)) * Clock.NsPerTick) : longest;
    }
}

/// One thread that runs what is posted to it, as a user interface or the old ASP.NET has it.
public sealed class OneThread : SynchronizationContext
{
    readonly BlockingCollection<KeyValuePair<SendOrPostCallback, object>> work =
        new BlockingCollection<KeyValuePair<SendOrPostCallback, object>>();

    public override void Post(SendOrPostCallback callback, object state)
    {
        work.Add(new KeyValuePair<SendOrPostCallback, object>(callback, state));
    }

    /// Runs what comes on a thread of its own.
    public Thread Start()
    {
        Thread thread = new Thread(() =>
        {
            SetSynchronizationContext(this);
            foreach (KeyValuePair<SendOrPostCallback, object> item in work.GetConsumingEnumerable()) item.Key(item.Value);
        }) { IsBackground = true };
        thread.Start();
        return thread;
    }
}

public static class Context
{
    /// context HOW: calls an async method from the context's thread, and says whether it ever ends.
    public static int Run(string[] args)
    {
        string how = args[1];
        OneThread context = new OneThread();
        context.Start();
        ManualResetEventSlim ended = new ManualResetEventSlim();
        context.Post(state =>
        {
            switch (how)
            {
                case "result": ended.Set(Plain().Result); break;
                case "configure_await": ended.Set(Configured().Result); break;
                case "await": Awaits(ended); break;
                case "task_run": ended.Set(Task.Run(() => Plain()).Result); break;
                default: throw new ArgumentException("no such way: " + how);
            }
        }, null);
        bool deadlock = !ended.Wait(700);
        Tell.Value("deadlocked_count", deadlock ? 1 : 0);
        About.Collector();
        Console.Out.Flush();
        Environment.Exit(0);
        return 0;
    }

    static void Set(this ManualResetEventSlim ended, int ignored) { ended.Set(); }

    static async void Awaits(ManualResetEventSlim ended) { ended.Set(await Plain()); }

    static async Task<int> Plain() { await Task.Delay(20); return 1; }

    static async Task<int> Configured() { await Task.Delay(20).ConfigureAwait(false); return 1; }
}
