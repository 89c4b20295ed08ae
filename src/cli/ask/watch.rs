//! `--watch`: the same question again and again. A terminal is drawn over; a file or a pipe gets
//! one block after another.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use rustix::termios::tcgetwinsize;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    cli::ask::{
        Code, Question,
        agent::{Agent, Fault, Kind},
        complain,
        sheet::{Look, Sheet},
        text::{bad, harmless_lines, width},
    },
    model::time::rfc3339,
    runtime::clock,
};

/// To the first corner, and everything behind it away; what is drawn over itself would flicker.
const HOME: &str = "\x1b[H\x1b[J";
/// A screen of its own, and back: what stood there before stands there again.
const SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const SCREEN_BACK: &str = "\x1b[?25h\x1b[?1049l";

/// Ends with Ctrl-C, SIGTERM, or when nobody reads any more; the code is the last answer's.
pub(super) async fn watch(
    question: &impl Question,
    agent: &Agent,
    as_json: bool,
    seconds: u16,
) -> Code {
    let signals = || Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
    let (mut interrupt, mut terminate) = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            let error: io::Error = error;
            return complain(&Fault::new(Kind::Hopeless, format!("no signals: {error}")));
        }
    };
    let mut ticks = interval(Duration::from_secs(seconds.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut screen = Screen::new(as_json);
    let mut code = Code::Fine;
    loop {
        let round = async {
            ticks.tick().await;
            question.ask(agent, clock::now_ms()).await
        };
        let answer = tokio::select! {
            answer = round => answer,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let drawn = match answer {
            Ok(told) => {
                code = told.code;
                screen.show(&told.drawn(as_json, look()))
            }
            // It may be restarted right now, and is worth watching then.
            Err(fault) if fault.kind != Kind::Hopeless => {
                code = fault.code();
                screen.trouble(&fault)
            }
            Err(fault) => {
                drop(screen);
                return complain(&fault);
            }
        };
        if drawn.is_err() {
            break;
        }
    }
    code
}

/// How standard output is drawn on.
pub(super) fn look() -> Look {
    let out = io::stdout();
    if !out.is_terminal() {
        return Look { columns: None, in_colour: false };
    }
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    Look { columns: size().map(|(columns, _)| columns), in_colour: !is_set("NO_COLOR") && !is_dumb }
}

struct Screen {
    is_terminal: bool,
    as_json: bool,
    has_drawn: bool,
}

impl Screen {
    fn new(as_json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal() && !as_json;
        if is_terminal {
            let _ = write!(io::stdout(), "{SCREEN}");
        }
        Self { is_terminal, as_json, has_drawn: false }
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            let text = size().map_or_else(|| text.to_owned(), |size| fitted(text, size));
            // All at once, so that no half of it is seen.
            out.write_all(format!("{HOME}{text}").as_bytes())?;
        } else {
            if self.has_drawn && !self.as_json {
                writeln!(out, "--- {}", rfc3339(clock::now_ms()))?;
            }
            out.write_all(text.as_bytes())?;
        }
        self.has_drawn = true;
        out.flush()
    }

    fn trouble(&mut self, fault: &Fault) -> io::Result<()> {
        if self.as_json {
            // Nothing but answers goes where a program reads.
            return writeln!(io::stderr(), "starling: {}", harmless_lines(&fault.reason));
        }
        let mut sheet = Sheet::default();
        sheet.line(bad(&fault.reason));
        self.show(&sheet.draw(look()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stdout(), "{SCREEN_BACK}");
            let _ = io::stdout().flush();
        }
    }
}

/// Columns and rows of the terminal, where it has any.
fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// The lines that fit, and how many do not: a screen that rolls shows the end alone.
fn fitted(text: &str, (columns, rows): (usize, usize)) -> String {
    let height = |line: &str| width(&uncoloured(line)).div_ceil(columns).max(1);
    let lines: Vec<&str> = text.lines().collect();
    if lines.iter().map(|line| height(line)).sum::<usize>() < rows {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = rows.saturating_sub(2);
    for (n, line) in lines.iter().enumerate() {
        let Some(after) = left.checked_sub(height(line)) else {
            let _ = write!(out, "… and {} more lines", lines.len() - n);
            break;
        };
        left = after;
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Without what changes the colour, which takes no room.
fn uncoloured(line: &str) -> String {
    let mut out = String::new();
    let mut parts = line.split('\x1b');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_high_for_the_screen_says_so() {
        let check = |text: &str, size, expected: &str| assert_eq!(fitted(text, size), expected);
        check("a\nb\n", (10, 3), "a\nb\n");
        check("a\nb\nc\n", (10, 4), "a\nb\nc\n");
        check("a\nb\nc\nd\n", (10, 4), "a\nb\n… and 2 more lines");
        check("aaaaaaaaaaaa\nb\nc\n", (10, 4), "aaaaaaaaaaaa\n… and 2 more lines");
        check("\x1b[31maaaaaaaa\x1b[0m\nb\nc\n", (10, 4), "\x1b[31maaaaaaaa\x1b[0m\nb\nc\n");
    }
}
