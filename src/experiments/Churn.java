/** Garbage of one size beside small objects that live, and a thread that looks at the clock: what src/managed/load/churn.rs does. */
public final class Churn {
    static volatile boolean stop;
    static volatile byte[] last;
    static long longest;

    public static void main(String[] args) throws InterruptedException {
        int payload = Integer.parseInt(args[0]);
        long time = Long.parseLong(args[1]) * 1_000_000L;
        int live = Integer.parseInt(args[2]);
        byte[][][] kept = new byte[live][500][];
        for (byte[][] table : kept) {
            for (int i = 0; i < table.length; i++) {
                table[i] = new byte[32]; // 48 bytes with its header
            }
        }
        // Everything is old, and the loop below is compiled.
        System.gc();
        churn(payload, time / 2);
        Thread victim = new Thread(Churn::watch);
        victim.start();
        System.out.println("underhood begin");
        long began = System.nanoTime();
        long ops = churn(payload, time);
        long took = System.nanoTime() - began;
        System.out.println("underhood end " + ops + " " + took);
        stop = true;
        victim.join();
        System.out.println("underhood victim " + longest + " " + kept[live - 1][499].length);
    }

    static long churn(int payload, long time) {
        long until = System.nanoTime() + time;
        long ops = 0;
        while (System.nanoTime() < until) {
            last = new byte[payload];
            ops++;
        }
        return ops;
    }

    static void watch() {
        long before = System.nanoTime();
        while (!stop) {
            long now = System.nanoTime();
            longest = Math.max(longest, now - before);
            before = now;
        }
    }
}
