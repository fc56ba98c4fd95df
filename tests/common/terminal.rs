//! A pseudo-terminal with the program at the other end.
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Two ends of a terminal; `None` where the system gives none.
pub(crate) fn terminal() -> Option<(File, OwnedFd)> {
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: both ends are valid places for a descriptor; name, settings and size may be null.
    let rc = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast()) };
    if rc != 0 {
        return None;
    }
    // Else every program started meanwhile would inherit both ends and keep the terminal open after ours has ended.
    for end in [ours, theirs] {
        // SAFETY: sets a flag of a descriptor that was just opened; touches no memory.
        unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: openpty succeeded, so this is an open descriptor that nobody else owns.
    let ours = unsafe { File::from_raw_fd(ours) };
    // SAFETY: as above.
    let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
    Some((ours, theirs))
}

/// Gives the program a session of its own, whose terminal is its stdin: when that closes, the kernel hangs up.
pub(crate) fn in_a_session_of_its_own(command: &mut Command) {
    fn session() -> io::Result<()> {
        // SAFETY: takes nothing and touches no memory of ours.
        let session = unsafe { libc::setsid() };
        // SAFETY: asks for a number; a stdin that is no terminal is an error.
        let rc = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        if session < 0 || rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
    // SAFETY: between fork and exec it makes two system calls, and an error of a number.
    unsafe { command.pre_exec(session) };
}

/// Starts the program with a signal ignored, as `nohup` does.
pub(crate) fn ignoring(command: &mut Command, signal: i32) {
    let ignore = move || {
        // SAFETY: ignoring a signal installs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
        Ok(())
    };
    // SAFETY: between fork and exec it makes one system call.
    unsafe { command.pre_exec(ignore) };
}

/// Starts the program with these signals as they are by default, whatever started the tests (`nohup` ignores one).
pub(crate) fn heeding(command: &mut Command, signals: &'static [i32]) {
    let heed = move || {
        for signal in signals {
            // SAFETY: the default action installs no code of ours.
            unsafe { libc::signal(*signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(heed) };
}

/// Waits until a child has a handler for Ctrl-C: before that the signal ends it without a code.
pub(crate) fn until_it_listens(child: &Child) {
    let until = Instant::now() + Duration::from_secs(60);
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:"))?.trim();
        Some(u64::from_str_radix(caught, 16).ok()? & (1 << (libc::SIGINT - 1)) != 0)
    };
    while listens() == Some(false) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    if listens().is_none() {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Sends a signal to a child that was not waited for yet, so that its number is still its own.
pub(crate) fn send(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).expect("a process's number fits");
    // SAFETY: sends a signal, and touches no memory.
    unsafe { libc::kill(pid, signal) };
}

#[allow(clippy::print_stderr, reason = "a skipped test says so")]
/// Runs the program at a terminal and answers every prompt (`> ` alone on the last line); what was shown, and the exit code.
/// `answer` gets what was shown since the last prompt.
pub(crate) fn at_terminal(
    store: &Path,
    words: &[&str],
    answer: impl Fn(&str) -> String,
) -> Option<(Option<i32>, String)> {
    let Some((mut ours, theirs)) = terminal() else {
        eprintln!("this system has no pseudo-terminal to test with; skipped");
        return None;
    };
    let end = || Stdio::from(theirs.try_clone().expect("a descriptor is left"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_underhood"))
        .args(words)
        .arg("--store")
        .arg(store)
        .env_remove("UNDERHOOD_STORE")
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .stdin(end())
        .stdout(end())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    drop(theirs);
    let (tell, told) = mpsc::channel();
    let mut reader = ours.try_clone().expect("a descriptor is left");
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        // The end of a terminal is an error on Linux, a zero elsewhere.
        while let Ok(n @ 1..) = reader.read(&mut bytes) {
            if tell.send(bytes[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    let (mut shown, mut answered) = (Vec::new(), 0);
    let until = Instant::now() + Duration::from_secs(240);
    let code = loop {
        match told.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => shown.extend(bytes),
            Err(mpsc::RecvTimeoutError::Disconnected) => break child.wait().expect("it ends").code(),
            // The end of the program, not of the terminal: another program that was started in the moment before the flag was set
            // may hold it open. Then the last page is still on its way.
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait().expect("it is ours") {
                    while let Ok(bytes) = told.recv_timeout(Duration::from_secs(5)) {
                        shown.extend(bytes);
                    }
                    break status.code();
                }
            }
        }
        let text = String::from_utf8_lossy(&shown[answered..]).into_owned();
        if text.ends_with("\n> ") {
            answered = shown.len();
            ours.write_all(format!("{}\n", answer(&text)).as_bytes()).expect("somebody reads");
        }
        if Instant::now() > until {
            child.kill().expect("it can be ended");
            panic!("it hangs after\n{}", String::from_utf8_lossy(&shown));
        }
    };
    Some((code, String::from_utf8_lossy(&shown).into_owned()))
}

pub(crate) fn asks_for_a_guess(shown: &str) -> bool {
    shown.contains("Your prediction for ")
}

/// Without the line breaks, which fall anywhere.
pub(crate) fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
