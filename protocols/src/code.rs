//! The one table of error codes that peers see: in `error` events, and as `code` in problem
//! documents over HTTP.
//!
//! A code is for programs and never changes its meaning; the message beside it is for people.
//! Codes are lower snake case. Where the codes of commands arise: [`crate::command`].

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// Why a command was not obeyed, or why a session is about to end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorCode {
            /// Every code, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

error_codes! {
    /// A known field has the wrong type or value, is missing, or stands twice. The message names
    /// the field and what is allowed.
    BadField = "bad_field",
    /// The text is not one JSON object: a syntax error, nesting too deep, or another JSON value.
    BadJson = "bad_json",
    /// The bytes are not UTF-8.
    BadUtf8 = "bad_utf8",
    /// A binary WebSocket message came in on a wire that speaks JSON text.
    BinaryNotSupported = "binary_not_supported",
    /// Something failed in the gateway; the log of the gateway says what.
    Internal = "internal",
    /// The name is empty, too long, or has control characters.
    InvalidName = "invalid_name",
    /// The room name is empty, too long, has control characters, or misplaces `>`.
    InvalidRoom = "invalid_room",
    /// A line over TCP is longer than the limit; the session closes.
    LineTooLong = "line_too_long",
    /// The session is not a member of the room, and the command needs that.
    NotAMember = "not_a_member",
    /// The gateway is at one of its limits; the same command may work later.
    Overloaded = "overloaded",
    /// A pattern was given where one room is meant; patterns can only be joined and left.
    PatternNotAllowed = "pattern_not_allowed",
    /// The peer sent more commands in a span of time than it may.
    RateLimited = "rate_limited",
    /// A member refused the request, or nobody is there who could answer it.
    Refused = "refused",
    /// The gateway is draining and takes no new work.
    ShuttingDown = "shutting_down",
    /// Nobody answered in time.
    Timeout = "timeout",
    /// The message or datagram is larger than the limit.
    TooLarge = "too_large",
    /// The session waits for as many answers as it may at once.
    TooManyRequests = "too_many_requests",
    /// The session, or the gateway, has as many rooms as it may.
    TooManyRooms = "too_many_rooms",
    /// No valid token was presented, or it does not allow this.
    Unauthorized = "unauthorized",
    /// A reply names a request that is not open: unknown, answered already, or timed out.
    UnknownRequest = "unknown_request",
    /// The room does not exist: it has neither members nor history.
    UnknownRoom = "unknown_room",
    /// The `type` of the command is not one that this version knows.
    UnknownType = "unknown_type",
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_lower_snake_case_words_in_order() {
        let words: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert!(words.len() > 20);
        assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
        for word in words {
            let snake =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(word.bytes().all(snake), "{word}");
        }
    }
}
