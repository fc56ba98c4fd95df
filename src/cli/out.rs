//! What is printed: results to stdout, progress and warnings to stderr. A closed pipe ends the program without noise.
use std::{
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};

use super::{Outcome, STOP, args::Common};
use crate::{
    show::{self, Look},
    words::escape,
};

/// Why a command stopped early.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody reads stdout any more.
    Closed,
    /// The reader has had enough, and said so.
    Left,
    /// Ctrl-C.
    Interrupted,
    /// The words were off.
    Usage(String),
    /// Anything else, as a sentence.
    Failed(String),
}

impl From<io::Error> for End {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Failed(format!("cannot write the output: {e}"))
        }
    }
}

impl From<crate::record::StoreError> for End {
    fn from(e: crate::record::StoreError) -> Self {
        Self::Failed(e.to_string())
    }
}

const HEAD: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));
const WARN: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));

/// What stands before the cursor when an answer is wanted.
const PROMPT: &str = "> ";

pub(super) struct Out {
    out: anstream::AutoStream<io::Stdout>,
    err: anstream::AutoStream<io::Stderr>,
    json: bool,
    /// How the renderers should draw.
    pub(super) look: Look,
    terminal: bool,
    line_open: bool,
    last: Option<Instant>,
    /// How the command would have ended if its reader left now: failed while something is left to do.
    pub(super) so_far: Outcome,
    /// Labs that the command still goes through after this one, and the worst of those before.
    pub(super) more_labs: usize,
    pub(super) before: Outcome,
    /// Set if a file of the store could not be read, so that what is told is a part.
    pub(super) unread: bool,
}

impl Out {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            look: Look {
                width: width(),
                color: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
                plain: common.plain,
                all: common.all,
            },
            out: anstream::AutoStream::auto(io::stdout()),
            err: anstream::AutoStream::auto(io::stderr()),
            json: common.json,
            terminal: io::stderr().is_terminal() && !common.plain,
            line_open: false,
            last: None,
            so_far: Outcome::Failed,
            more_labs: 0,
            before: Outcome::Quotable,
            unread: false,
        }
    }

    /// True if somebody sits there who can answer.
    pub(super) fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Notes how the command ends if nothing is left to do but to tell.
    pub(super) fn so_far_if(&mut self, done: bool, outcome: Outcome) {
        if done {
            self.so_far = outcome.max(self.before);
        }
    }

    /// Says so where nobody can be asked, and what happens instead: it looks like a question that was skipped.
    pub(super) fn warn_unasked(&mut self, instead: &str) {
        if !self.can_ask() {
            let why = if self.json { "with --json nothing is asked" } else { "no terminal" };
            self.warn(&format!("{why}: {instead}"));
        }
    }

    /// For people; silent with `--json`.
    pub(super) fn say(&mut self, text: impl Display) -> Result<(), End> {
        if !self.json {
            self.progress_end();
            writeln!(self.out, "{text}")?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Rendered text, which ends with a line end of its own.
    pub(super) fn text(&mut self, text: &str) -> Result<(), End> {
        if text.is_empty() { Ok(()) } else { self.say(text.trim_end_matches('\n')) }
    }

    pub(super) fn heading(&mut self, text: impl Display) -> Result<(), End> {
        self.say(format!("\n{HEAD}{text}{HEAD:#}"))
    }

    /// Prose, wrapped behind its label.
    pub(super) fn prose(&mut self, label: &str, text: &str) -> Result<(), End> {
        let label_width = label.chars().count();
        let indent = label_width.min(4);
        let text = show::wrap(text, self.look.width.min(100), label_width, indent);
        self.say(format!("{label}{text}"))
    }

    /// For programs: one JSON value a line, only with `--json`.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), End> {
        if self.json {
            let line =
                serde_json::to_string(value).map_err(|e| End::Failed(format!("cannot write JSON: {e}")))?;
            writeln!(self.out, "{}", escape::json(&line))?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// For other programs: the bytes as they are, with `--json` too.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<Outcome, End> {
        self.so_far = Outcome::Quotable;
        self.progress_end();
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(Outcome::Quotable)
    }

    /// For people, on stderr. The text may quote what somebody typed, named or wrote into a file.
    pub(super) fn warn(&mut self, text: &str) {
        self.progress_end();
        // If stderr is gone too there is nobody left to tell.
        let _ = writeln!(self.err, "{WARN}underhood:{WARN:#} {}", escape::message(text));
    }

    /// One line that is overwritten on a terminal; elsewhere a line every two seconds.
    pub(super) fn progress(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(self.err, "\r\x1b[2K{text}");
            let _ = self.err.flush();
            self.line_open = true;
        } else if self.last.is_none_or(|t| t.elapsed() > Duration::from_secs(2)) {
            let _ = writeln!(self.err, "{text}");
            self.last = Some(Instant::now());
        }
    }

    pub(super) fn progress_end(&mut self) {
        if std::mem::take(&mut self.line_open) {
            let _ = write!(self.err, "\r\x1b[2K");
            let _ = self.err.flush();
        }
    }

    /// Asks and returns the line; `None` at the end of input. The prompt stands alone on the last line, so that a question may be
    /// as long as it needs to be, and a program at the other end cannot take any other text for it.
    pub(super) fn ask(&mut self, question: &str) -> Result<Option<String>, End> {
        // What came while the last step was measured is meant for the whole program.
        if STOP.load(Relaxed) {
            return Err(End::Interrupted);
        }
        self.prose("", question)?;
        self.out.write_all(PROMPT.as_bytes())?;
        self.out.flush()?;
        let mut line = Vec::new();
        let n = io::stdin().lock().read_until(b'\n', &mut line);
        let n = n.map_err(|e| End::Failed(format!("cannot read your answer: {e}")))?;
        // What is no UTF-8 is no answer either, and is asked for again like any other that is not understood.
        Ok((n > 0).then(|| String::from_utf8_lossy(&line).trim().to_string()))
    }
}

/// Columns of the terminal, 100 where there is none; `COLUMNS` overrides, as elsewhere.
fn width() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    set.or_else(terminal_width).unwrap_or(100).clamp(40, 200)
}

fn terminal_width() -> Option<usize> {
    #[cfg(unix)]
    {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: `size` is a valid winsize that outlives the call, which is what this request writes to.
        let rc = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
        (rc == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
    }
    #[cfg(not(unix))]
    None
}
