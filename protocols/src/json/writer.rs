//! JSON strings and numbers, appended to a byte buffer.
//!
//! Writing cannot fail: a `Vec` takes what it gets. Next: [`crate::event`], the main user.

use std::fmt::{self, Display, Write};

use crate::word;

/// Appends `text` as a JSON string with its quotes. Only what must be escaped is.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends `number` in decimal digits.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [b'0'; 20];
    let mut rest = number;
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends what `value` displays as a JSON string with its quotes.
pub(crate) fn push_display(out: &mut Vec<u8>, value: &(impl Display + ?Sized)) {
    out.push(b'"');
    write!(Escaping(out), "{value}").ok();
    out.push(b'"');
}

struct Escaping<'a>(&'a mut Vec<u8>);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text.as_bytes());
        Ok(())
    }
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut start = 0;
    loop {
        let stop = word::find_json_special(text, start);
        out.extend_from_slice(text.get(start..stop).unwrap_or_default());
        let Some(special) = text.get(stop) else {
            return;
        };
        push_escape(out, *special);
        start = stop + 1;
    }
}

fn push_escape(out: &mut Vec<u8>, special: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match special {
        b'"' | b'\\' => special,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let [high, low] = [special >> 4, special & 15].map(|digit| HEX[usize::from(digit)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
