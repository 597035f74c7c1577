//! Every way in which a peer can break RFC 6455 or a limit, and what to tell it.

use super::close;

macro_rules! violations {
    ($($(#[doc = $doc:literal])+ $variant:ident => $code:ident $reason:literal,)+) => {
        /// What the peer did wrong. The connection cannot go on after it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Violation {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Violation {
            /// Every violation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code of the close frame to send.
            pub const fn close_code(self) -> u16 {
                match self {
                    $(Self::$variant => close::$code,)+
                }
            }

            /// The reason in the close frame to send; fits it.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$variant => $reason,)+
                }
            }
        }
    };
}

violations! {
    /// A close frame carries a code that must not be sent (§7.4).
    CloseCodeInvalid => PROTOCOL_ERROR "invalid close code",
    /// A close frame's reason is not UTF-8 (§5.5.1).
    CloseReasonNotUtf8 => INVALID_DATA "close reason is not UTF-8",
    /// A close frame has a payload of one byte (§5.5.1).
    CloseTruncated => PROTOCOL_ERROR "close code is cut off",
    /// A continuation frame where no message was begun (§5.4).
    ContinuationWithoutMessage => PROTOCOL_ERROR "continuation without a message",
    /// A control frame in fragments (§5.5).
    ControlFragmented => PROTOCOL_ERROR "fragmented control frame",
    /// A control frame longer than 125 bytes (§5.5).
    ControlTooLong => PROTOCOL_ERROR "control frame over 125 bytes",
    /// The compressed data of a message is malformed or cut off (RFC 7692 §7.2.2).
    DeflateInvalid => INVALID_DATA "compressed data is invalid",
    /// The message inflates to more than its compressed size allows; see `deflate::InflatePool`.
    InflatedTooFar => TOO_BIG "message inflates too far",
    /// A length that would have fitted a shorter form (§5.2).
    LengthNotMinimal => PROTOCOL_ERROR "length not in its shortest form",
    /// A length with the highest of 64 bits set (§5.2).
    LengthOutOfRange => PROTOCOL_ERROR "length over 63 bits",
    /// A new message begins inside a fragmented one (§5.4).
    MessageInterrupted => PROTOCOL_ERROR "message begins inside another",
    /// The message is longer than the limit, all its fragments together.
    MessageTooBig => TOO_BIG "message too big",
    /// A frame from the client is not masked (§5.1).
    NotMasked => PROTOCOL_ERROR "frame is not masked",
    /// A reserved bit is set to which no agreed extension gives a meaning there (§5.2).
    ReservedBits => PROTOCOL_ERROR "reserved bit set",
    /// A text message is not UTF-8 (§8.1).
    TextNotUtf8 => INVALID_DATA "text is not UTF-8",
    /// The message comes in more fragments than the limit. Not 1009, which asks for less data: here
    /// the same data in fewer frames would do, and the rule is the gateway's own.
    TooManyFragments => POLICY "too many fragments",
    /// An opcode that RFC 6455 reserves (§5.2).
    UnknownOpcode => PROTOCOL_ERROR "unknown opcode",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_has_its_own_reason_that_fits_a_close_frame() {
        let mut reasons: Vec<_> = Violation::ALL.iter().map(|it| it.reason()).collect();
        assert!(reasons.iter().all(|reason| reason.len() <= 123));
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), Violation::ALL.len());
        assert!(
            Violation::ALL
                .iter()
                .all(|it| close::may_receive(it.close_code()))
        );
    }
}
