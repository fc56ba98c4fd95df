//! A pseudo-terminal with the program at the other end.
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
    process::{Command, Stdio},
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
