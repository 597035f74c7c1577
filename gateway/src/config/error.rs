//! What is wrong with a configuration, shown where it stands.
//!
//! All problems that one reading finds are told at once, each with file, line and column, the line
//! itself and a mark below it, or with the environment variable it came from.

use std::fmt;
use std::ops::Range;

/// The most problems that are shown; the rest is counted.
const MAX_SHOWN: usize = 20;

/// The most characters of a line or value that are shown.
const MAX_WIDTH: usize = 120;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What the file is called in messages.
    pub(super) file: String,
    /// The file's text, for the lines that are shown.
    pub(super) text: String,
    /// One at least.
    pub(super) problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// These bytes of the file.
    File { start: usize, end: usize },
    /// An environment variable and its value.
    Environment { variable: String, value: String },
    /// A default, a flag or code.
    Nowhere,
}

impl Place {
    pub(super) fn span(span: Range<usize>) -> Self {
        Self::File {
            start: span.start,
            end: span.end,
        }
    }
}

impl ConfigError {
    /// The messages alone, without the places.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|problem| problem.message.as_str())
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(MAX_SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "error: {}", problem.message)?;
            match &problem.place {
                Place::File { start, end } => self.write_line(f, *start, *end)?,
                Place::Environment { variable, value } => {
                    write!(f, "\n  --> environment: {variable}={}", shown(value))?;
                }
                Place::Nowhere => {}
            }
        }
        match self.problems.len().checked_sub(MAX_SHOWN) {
            Some(more) if more > 0 => write!(f, "\n\nand {more} more"),
            _ => Ok(()),
        }
    }
}

impl ConfigError {
    /// Writes the line that begins at or before `start`, and marks the bytes up to `end` in it.
    fn write_line(&self, f: &mut fmt::Formatter<'_>, start: usize, end: usize) -> fmt::Result {
        let text = self.text.as_str();
        let start = floor_char_boundary(text, start);
        let end = floor_char_boundary(text, end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let number = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count();
        let width = text[start..end.min(line_end)].chars().count().max(1);

        let line = shown(text[line_start..line_end].trim_end());
        let margin = " ".repeat(number.to_string().len());
        write!(f, "\n{margin}--> {}:{number}:{}", self.file, column + 1)?;
        write!(f, "\n{margin} |\n{number} | {line}\n{margin} |")?;
        if column < MAX_WIDTH {
            let width = width.min(MAX_WIDTH - column);
            write!(f, " {}{}", " ".repeat(column), "^".repeat(width))?;
        }
        Ok(())
    }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// One line of bounded width in which nothing moves the cursor; each character keeps its column.
pub(super) fn shown(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(MAX_WIDTH)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    if text.chars().nth(MAX_WIDTH).is_some() {
        line.push('…');
    }
    line
}
