//! The two streams: data to stdout, everything else to stderr. Neither ever panics.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;

/// The form of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Stdout, buffered. Whoever reads it may leave early: that ends the command quietly.
pub(crate) struct Output {
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self { stdout: BufWriter::with_capacity(64 * 1024, io::stdout()) }
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let written =
            self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.write_all(b"\n"));
        written.map_err(Failure::stdout)
    }

    /// One value as one line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::stdout(error.into()))?;
        self.line(&text)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(Failure::stdout)
    }

    /// Lets the reader see what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::stdout)
    }
}

/// Writes one value in the form that was asked for and ends.
pub(crate) fn answer(
    format: Format,
    json: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let mut output = Output::stdout();
    match format {
        Format::Json => output.json(json)?,
        Format::Text => output.line(&text())?,
    }
    output.flush()
}

/// A word beside the data. Nobody may be there to read it, and that is no failure.
pub(crate) fn note(text: &str) {
    _ = writeln!(io::stderr().lock(), "{text}");
}

pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Asks on the terminal before something that cannot be undone.
pub(crate) fn confirm(is_agreed: bool, question: &str) -> Result<(), Failure> {
    if is_agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !stderr_is_terminal() {
        let problem = format!("{question} Nobody is there to ask: repeat with --yes to say yes.");
        return Err(Failure::usage(problem));
    }
    _ = write!(io::stderr().lock(), "{question} [y/N] ");
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| Failure::local("read the answer", error))?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::unsuccessful("Not done.")),
    }
}
