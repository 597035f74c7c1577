//! Control characters: where they are forbidden, and how they are shown where they are not.
//!
//! Names and room names may not contain them; message texts may, but a terminal must never get
//! them raw, or one member could forge another's line or send escape sequences. Knows nothing of
//! JSON. Used by [`crate::name`], [`crate::room`] and [`crate::chat`].

/// Whether `text` contains a control character ([`char::is_control`]: C0, DEL and C1).
pub(crate) fn has_control(text: &str) -> bool {
    // 0xC2 leads the two-byte form of U+0080 to U+00BF, which holds all of C1; most names have
    // none of these bytes and are done after one vectorised pass.
    let suspicious = |byte: &u8| *byte < 0x20 || *byte == 0x7f || *byte == 0xc2;
    text.as_bytes().iter().any(suspicious) && text.chars().any(char::is_control)
}

/// Whether a terminal must not get `character` raw: control characters, and the formatting
/// characters that break a line or turn the direction of what follows.
fn is_unsafe(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends `text` as one line that is safe to show: unsafe characters become `\n`, `\r`, `\t` or
/// `\u{…}`, everything else stays.
pub(crate) fn push_visible(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some((at, character)) = rest.char_indices().find(|(_, it)| is_unsafe(*it)) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        out.extend(character.escape_default().map(|escaped| escaped as u8));
        rest = after.get(character.len_utf8()..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_test_agrees_with_the_definition_for_every_character() {
        for character in char::MIN..=char::MAX {
            let text = format!("a{character}");
            assert_eq!(has_control(&text), character.is_control(), "{character:?}");
        }
    }

    #[test]
    fn unsafe_characters_are_shown_escaped() {
        let check = |input: &str, expected: &str| {
            let mut out = Vec::new();
            push_visible(&mut out, input);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check("", "");
        check("grüße, 世界 🎉", "grüße, 世界 🎉");
        check("a\nroot: b", "a\\nroot: b");
        check("\u{1b}[31mred", "\\u{1b}[31mred");
        check("\u{9b}31m\r\t\u{7f}", "\\u{9b}31m\\r\\t\\u{7f}");
        check("a\u{202e}b\u{2028}", "a\\u{202e}b\\u{2028}");
        check("back\\slash stays", "back\\slash stays");
    }
}
