//! The bodies of the fuzz targets: each takes any bytes, and panics when a promise is broken.
//!
//! A body is deterministic and keeps nothing between calls. It reads a few bytes of settings and
//! then what a peer sends, so that a seed can be written by hand and a dictionary helps. Wherever
//! there is one, a second opinion is asked: another library, or the naive form of the same rule.

use std::fmt;

use arbitrary::Unstructured;

pub mod command;
pub mod content;
pub mod handshake;
pub mod http1;
mod inflate;
pub mod line;
pub mod proxy_header;
pub mod websocket_deflate;
pub mod websocket_frames;
pub mod word;

/// A fuzz target.
pub struct Target {
    /// As `cargo fuzz` knows it.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with, and those that once were findings.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every target of this module.
pub const ALL: &[Target] = &[
    Target {
        name: "command",
        run: command::run,
        seeds: command::seeds,
    },
    Target {
        name: "content",
        run: content::run,
        seeds: content::seeds,
    },
    Target {
        name: "handshake",
        run: handshake::run,
        seeds: handshake::seeds,
    },
    Target {
        name: "http1",
        run: http1::run,
        seeds: http1::seeds,
    },
    Target {
        name: "line",
        run: line::run,
        seeds: line::seeds,
    },
    Target {
        name: "proxy_header",
        run: proxy_header::run,
        seeds: proxy_header::seeds,
    },
    Target {
        name: "websocket_deflate",
        run: websocket_deflate::run,
        seeds: websocket_deflate::seeds,
    },
    Target {
        name: "websocket_frames",
        run: websocket_frames::run,
        seeds: websocket_frames::seeds,
    },
    Target {
        name: "word",
        run: word::run,
        seeds: word::seeds,
    },
];

/// The next byte of settings; 0 when there is none.
fn byte(input: &mut Unstructured<'_>) -> u8 {
    input.arbitrary().unwrap_or_default()
}

/// Cuts `input` as a network might: 0 not at all, 1 into single bytes, and otherwise into pieces of
/// 1 to `seed` bytes. Each is the caller's to write to, as a read buffer is.
pub fn pieces(input: &mut [u8], seed: u8) -> impl Iterator<Item = &mut [u8]> {
    let mut rest = input;
    let mut state = u32::from(seed);
    let mut first = true;
    std::iter::from_fn(move || {
        if rest.is_empty() && !first {
            return None;
        }
        first = false;
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = match seed {
            0 => rest.len(),
            _ => 1 + usize::from((state >> 16) as u16) % usize::from(seed),
        };
        let size = size.min(rest.len());
        let (piece, after) = std::mem::take(&mut rest).split_at_mut(size);
        rest = after;
        Some(piece)
    })
}
