//! Owns standard output: buffered, flushed once, in the form that was asked for.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde_json::Value as Json;

use crate::outcome::Result;

/// Standard output.
pub(crate) struct Output {
    stream: BufWriter<StdoutLock<'static>>,
    pub is_terminal: bool,
}

impl Output {
    pub fn new() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self { stream: BufWriter::with_capacity(1 << 16, stdout.lock()), is_terminal }
    }

    pub fn line(&mut self, line: &str) -> Result<()> {
        self.stream.write_all(line.as_bytes())?;
        self.stream.write_all(b"\n")?;
        Ok(())
    }

    /// One JSON document, on one line.
    pub fn json(&mut self, document: &Json) -> Result<()> {
        serde_json::to_writer(&mut self.stream, document).map_err(io::Error::from)?;
        self.stream.write_all(b"\n")?;
        Ok(())
    }

    /// A name and what it is, in two columns.
    pub fn field(&mut self, name: &str, value: &str) -> Result<()> {
        writeln!(self.stream, "{name:<14}{value}")?;
        Ok(())
    }

    /// What was printed so far is to be seen now.
    pub fn show(&mut self) -> Result<()> {
        self.stream.flush()?;
        Ok(())
    }

    pub fn finish(mut self) -> Result<()> {
        self.stream.flush()?;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
